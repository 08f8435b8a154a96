// The one place that talks to OpenBLAS: three matrix products of a dense layer.
//
// All matrices are fp32, row-major and contiguous; sizes are in elements. Outputs must not overlap
// inputs. A batch of zero rows is allowed.
//
// Reproducibility: with UseDeterministicBlas() the same inputs give the same bits in every process
// on the same kind of CPU. OpenBLAS picks its kernel by CPU model (and OPENBLAS_CORETYPE), and
// kernels add in different orders: another CPU may give other low bits.
//
// Thread-safety: the products may run on several threads at once, on different outputs.
#ifndef WORKER_TRAINER_BLAS_H_
#define WORKER_TRAINER_BLAS_H_

#include <cstddef>
#include <string>

namespace lockstep::trainer {

// Makes OpenBLAS compute on the calling thread alone, for the whole process. Call it once in main,
// before the first product: the number of threads decides how sums are cut, hence their bits.
void UseDeterministicBlas();

// The kernel set that OpenBLAS chose, such as "Haswell" or "SkylakeX": worth a line in the log,
// since runs on the same set have the same bits.
std::string BlasCoreName();

struct DenseSize {
  size_t batch = 0;
  size_t inputs = 0;
  size_t outputs = 0;
};

// y[batch, outputs] = x[batch, inputs] * weight[outputs, inputs]^T + bias[outputs] on each row.
void DenseForward(const DenseSize& size, const float* x, const float* weight, const float* bias, float* y);

// Given dy = dLoss/dy[batch, outputs]:
//   weight_gradient[outputs, inputs] = dy^T * x,   bias_gradient[outputs] = column sums of dy.
void DenseParameterGradient(const DenseSize& size, const float* x, const float* dy, float* weight_gradient,
                            float* bias_gradient);

// dx[batch, inputs] = dy[batch, outputs] * weight[outputs, inputs].
void DenseInputGradient(const DenseSize& size, const float* dy, const float* weight, float* dx);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_BLAS_H_
