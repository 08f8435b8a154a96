// Softmax cross-entropy: the loss of every model here.
#ifndef WORKER_TRAINER_LOSS_H_
#define WORKER_TRAINER_LOSS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace lockstep::trainer {

struct BatchResult {
  double loss = 0;      // Mean over the batch, in nats; 0 for an empty batch.
  int64_t correct = 0;  // Samples whose largest logit (first one on a tie) is the label's.
};

// Per row:  loss = log(sum_j exp(z_j)) - z_label,  dLoss/dz_j = softmax(z)_j - [j == label].
//
// `logits` is [labels.size(), classes], fp32, row-major. On return it holds the gradient of the
// *mean* loss with respect to the logits, in place. Labels are in 0..classes-1, or the process
// aborts: loaders guarantee it. Logits that are not finite give a loss that is not finite; they do
// not crash. (Bishop, "Pattern Recognition and Machine Learning", 4.3.4.)
BatchResult SoftmaxCrossEntropy(size_t classes, absl::Span<const int32_t> labels, absl::Span<float> logits);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_LOSS_H_
