#include "worker/trainer/blas.h"

#include <cblas.h>

#include <algorithm>
#include <climits>

#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

int BlasInt(size_t value) {
  Require(value <= INT_MAX, "a matrix is too large for BLAS's 32-bit sizes");
  return static_cast<int>(value);
}

}  // namespace

void UseDeterministicBlas() { openblas_set_num_threads(1); }

std::string BlasCoreName() { return openblas_get_corename(); }

void DenseForward(const DenseSize& size, const float* x, const float* weight, const float* bias, float* y) {
  if (size.batch == 0) return;
  const int batch = BlasInt(size.batch);
  const int inputs = BlasInt(size.inputs);
  const int outputs = BlasInt(size.outputs);
  for (size_t row = 0; row < size.batch; ++row) {
    std::copy_n(bias, size.outputs, y + row * size.outputs);
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, batch, outputs, inputs, 1.0f, x, inputs, weight, inputs, 1.0f, y,
              outputs);
}

void DenseParameterGradient(const DenseSize& size, const float* x, const float* dy, float* weight_gradient,
                            float* bias_gradient) {
  std::fill_n(weight_gradient, size.outputs * size.inputs, 0.0f);
  std::fill_n(bias_gradient, size.outputs, 0.0f);
  if (size.batch == 0) return;
  const int inputs = BlasInt(size.inputs);
  const int outputs = BlasInt(size.outputs);
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, outputs, inputs, BlasInt(size.batch), 1.0f, dy, outputs, x,
              inputs, 0.0f, weight_gradient, inputs);
  for (size_t row = 0; row < size.batch; ++row) {
    const float* dy_row = dy + row * size.outputs;
    for (size_t i = 0; i < size.outputs; ++i) bias_gradient[i] += dy_row[i];
  }
}

void DenseInputGradient(const DenseSize& size, const float* dy, const float* weight, float* dx) {
  if (size.batch == 0) return;
  const int inputs = BlasInt(size.inputs);
  const int outputs = BlasInt(size.outputs);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, BlasInt(size.batch), inputs, outputs, 1.0f, dy, outputs,
              weight, inputs, 0.0f, dx, inputs);
}

}  // namespace lockstep::trainer
