#include "worker/trainer/idx.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "worker/trainer/input_file.h"

namespace lockstep::trainer {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr uint8_t kUnsignedByte = 0x08;
constexpr size_t kMaxDimensions = 8;

absl::Status Damaged(absl::string_view file, size_t offset, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(file, ": at offset ", offset, ": ", what));
}

uint8_t Byte(absl::string_view bytes, size_t offset) { return static_cast<uint8_t>(bytes[offset]); }

uint32_t BigEndian32(absl::string_view bytes, size_t offset) {
  return uint32_t{Byte(bytes, offset)} << 24 | uint32_t{Byte(bytes, offset + 1)} << 16 |
         uint32_t{Byte(bytes, offset + 2)} << 8 | uint32_t{Byte(bytes, offset + 3)};
}

// Checks the magic number; returns the number of dimensions.
absl::StatusOr<size_t> ParseMagic(absl::string_view bytes, absl::string_view file) {
  if (bytes.size() < kMagicBytes) {
    return Damaged(file, bytes.size(), "ends within the 4-byte magic number of an IDX file");
  }
  if (Byte(bytes, 0) != 0 || Byte(bytes, 1) != 0) {
    return Damaged(file, 0,
                   absl::StrFormat("expected an IDX file, which starts with 00 00, found %02x %02x", Byte(bytes, 0),
                                   Byte(bytes, 1)));
  }
  if (Byte(bytes, 2) != kUnsignedByte) {
    return Damaged(file, 2, absl::StrFormat("value type %02x: only 08 (unsigned byte) can be read", Byte(bytes, 2)));
  }
  const size_t dimensions = Byte(bytes, 3);
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return Damaged(file, 3, absl::StrCat(dimensions, " dimensions: expected 1..", kMaxDimensions));
  }
  return dimensions;
}

// Reads the sizes; refuses a product beyond what follows, step by step so that it can't overflow.
absl::Status ParseDimensions(absl::string_view bytes, absl::string_view file, IdxArray& array) {
  const size_t count = array.dimensions.size();
  array.values_offset = kMagicBytes + 4 * count;
  if (bytes.size() < array.values_offset) {
    return Damaged(file, bytes.size(), absl::StrCat("ends within the ", count, " sizes"));
  }
  const size_t available = bytes.size() - array.values_offset;
  size_t total = 1;
  for (size_t i = 0; i < count; ++i) {
    const size_t offset = kMagicBytes + 4 * i;
    const size_t size = BigEndian32(bytes, offset);
    if (size == 0) return Damaged(file, offset, "a size of 0: the file holds no data");
    if (size > available / total) {
      return Damaged(file, offset,
                     absl::StrCat("size ", size, " promises more values than the ", available,
                                  " bytes that follow: truncated file or damaged header"));
    }
    array.dimensions[i] = size;
    total *= size;
  }
  if (total == available) return absl::OkStatus();
  return Damaged(file, array.values_offset + total,
                 absl::StrCat(available - total, " bytes follow after the ", total,
                              " values that the header promises: damaged header or data"));
}

absl::StatusOr<IdxArray> ReadIdx(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadInputFile(path);
  if (!bytes.ok()) return bytes.status();
  return ParseIdx(*std::move(bytes), path);
}

absl::Status CheckPair(const IdxArray& images, const std::string& images_path, const IdxArray& labels,
                       const std::string& labels_path) {
  if (images.dimensions.size() < 2) {
    return Damaged(images_path, 3, "expected images, with 2 dimensions or more, found 1 (labels?)");
  }
  if (labels.dimensions.size() != 1) {
    return Damaged(labels_path, 3,
                   absl::StrCat("expected labels, with 1 dimension, found ", labels.dimensions.size(), " (images?)"));
  }
  if (images.dimensions[0] == labels.dimensions[0]) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(images_path, " holds ", images.dimensions[0], " images, but ", labels_path,
                                          " holds ", labels.dimensions[0], " labels: not of the same set"));
}

absl::StatusOr<std::vector<int32_t>> ToLabels(const IdxArray& array, const std::string& path, int max_classes) {
  std::vector<int32_t> labels(array.values.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i] = Byte(array.values, i);
    if (labels[i] < max_classes) continue;
    return Damaged(path, array.values_offset + i,
                   absl::StrCat("label ", labels[i], " of sample ", i, " is not in 0..", max_classes - 1));
  }
  return labels;
}

std::vector<float> ToUnitInterval(absl::string_view pixels) {
  std::vector<float> x(pixels.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(Byte(pixels, i)) / 255.0f;
  return x;
}

}  // namespace

absl::StatusOr<IdxArray> ParseIdx(std::string bytes, absl::string_view file) {
  absl::StatusOr<size_t> dimensions = ParseMagic(bytes, file);
  if (!dimensions.ok()) return dimensions.status();
  IdxArray array;
  array.dimensions.resize(*dimensions);
  if (auto status = ParseDimensions(bytes, file, array); !status.ok()) return status;
  bytes.erase(0, array.values_offset);
  array.values = std::move(bytes);
  return array;
}

absl::StatusOr<Split> ReadIdxPair(const std::string& images_path, const std::string& labels_path, int max_classes) {
  absl::StatusOr<IdxArray> images = ReadIdx(images_path);
  if (!images.ok()) return images.status();
  absl::StatusOr<IdxArray> labels = ReadIdx(labels_path);
  if (!labels.ok()) return labels.status();
  if (auto status = CheckPair(*images, images_path, *labels, labels_path); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::vector<int32_t>> numbers = ToLabels(*labels, labels_path, max_classes);
  if (!numbers.ok()) return numbers.status();
  return Split{.samples = images->dimensions[0],
               .features = images->values.size() / images->dimensions[0],
               .x = ToUnitInterval(images->values),
               .labels = *std::move(numbers)};
}

}  // namespace lockstep::trainer
