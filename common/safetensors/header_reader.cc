#include "common/safetensors/header_reader.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/safetensors/format.h"
#include "common/safetensors/messages.h"

namespace lockstep::safetensors::internal {
namespace {

struct DType {
  absl::string_view name;
  uint64_t bytes;
};

constexpr DType kDTypes[] = {{"F64", 8},     {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
                             {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4}, {"I16", 2},  {"I8", 1},
                             {"U64", 8},     {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}};

const DType* FindDType(absl::string_view name) {
  const auto* found =
      std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DType& dtype) { return dtype.name == name; });
  return found == std::end(kDTypes) ? nullptr : found;
}

// Walks over the header for the parser, and keeps how far it came for the messages.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, uint64_t* consumed) : at_(at), consumed_(consumed) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    ++at_;
    ++*consumed_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  uint64_t* consumed_;
};

// Accepts exactly: { name: {dtype: string, shape: [n...], data_offsets: [n, n]},
// "__metadata__": {string: string} }. A method that returns false ends the parsing. The parser
// drives it token by token: no tree is built, so that a hostile header costs no more memory than
// the tensors that it lists.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  const std::string& error() const { return error_; }
  Header& header() { return header_; }

  bool start_object(std::size_t) override {
    if (where_ == Where::kStart) return Enter(Where::kTop);
    if (where_ != Where::kTopValue) return Unexpected("an object");
    if (name_ == kMetadataKey) return StartMetadata();
    header_.tensors.emplace_back().name = name_;
    seen_ = 0;
    return Enter(Where::kTensor);
  }

  bool key(string_t& text) override {
    if (where_ == Where::kTop) {
      name_ = std::move(text);
      return Enter(Where::kTopValue);
    }
    if (where_ == Where::kTensor) return StartField(text);
    metadata_key_ = std::move(text);
    if (!header_.metadata.contains(metadata_key_)) return Enter(Where::kMetadataValue);
    return Fail(absl::StrCat("metadata has ", Quote(metadata_key_), " twice"));
  }

  bool string(string_t& text) override {
    if (where_ == Where::kMetadataValue) {
      header_.metadata.emplace(std::move(metadata_key_), std::move(text));
      return Enter(Where::kMetadata);
    }
    if (where_ != Where::kDType) return Unexpected("a string");
    const DType* dtype = FindDType(text);
    if (dtype == nullptr) return Fail(absl::StrCat("unknown dtype ", Quote(text)));
    header_.tensors.back().dtype = dtype->name;
    element_bytes_ = dtype->bytes;
    return Enter(Where::kTensor);
  }

  bool start_array(std::size_t) override {
    if (where_ == Where::kShape) return Enter(Where::kInShape);
    if (where_ == Where::kOffsets) return Enter(Where::kInOffsets);
    return Unexpected("a list");
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ == Where::kInShape) return AddExtent(value);
    if (where_ != Where::kInOffsets) return Unexpected("a number");
    if (offsets_.size() == 2) return Fail("data_offsets has more than two numbers");
    offsets_.push_back(value);
    return true;
  }

  bool end_array() override {
    if (where_ == Where::kInOffsets && offsets_.size() != 2) {
      return Fail("data_offsets has fewer than two numbers");
    }
    return Enter(Where::kTensor);
  }

  bool end_object() override {
    if (where_ == Where::kTop) return Enter(Where::kEnd);
    if (where_ == Where::kMetadata) return Enter(Where::kTop);
    return EndTensor();
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool parse_error(std::size_t, const std::string& token, const nlohmann::json::exception&) override {
    error_ = absl::StrCat("the header is not valid JSON at ", Quote(token));
    return false;
  }

 private:
  enum class Where {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kTensor,
    kDType,
    kShape,
    kInShape,
    kOffsets,
    kInOffsets,
    kEnd,
  };
  enum Field : unsigned { kDTypeField = 1, kShapeField = 2, kOffsetsField = 4, kAllFields = 7 };

  bool Enter(Where where) {
    where_ = where;
    return true;
  }

  bool Fail(absl::string_view what) {
    const bool in_entry = where_ > Where::kTop;
    error_ = in_entry ? absl::StrCat("entry ", Quote(name_), ": ", what) : std::string(what);
    return false;
  }

  bool Unexpected(absl::string_view what) { return Fail(absl::StrCat(what, " where the format has none")); }

  bool StartMetadata() {
    if (std::exchange(has_metadata_, true)) return Fail("is there twice");
    return Enter(Where::kMetadata);
  }

  bool StartField(const std::string& field) {
    if (field == "dtype") return StartField(kDTypeField, Where::kDType);
    if (field == "shape") return StartField(kShapeField, Where::kShape);
    if (field == "data_offsets") return StartField(kOffsetsField, Where::kOffsets);
    return Fail(absl::StrCat("unknown field ", Quote(field)));
  }

  bool StartField(Field field, Where where) {
    if ((seen_ & field) != 0) return Fail("has a field twice");
    seen_ |= field;
    if (field == kOffsetsField) offsets_.clear();
    return Enter(where);
  }

  bool AddExtent(uint64_t extent) {
    std::vector<int64_t>& shape = header_.tensors.back().shape;
    if (shape.size() == kMaxDimensions) return Fail("has more than 64 dimensions");
    if (extent > kMaxDataBytes) return Fail("a dimension is larger than any file");
    shape.push_back(static_cast<int64_t>(extent));
    return true;
  }

  bool EndTensor() {
    if (seen_ != kAllFields) return Fail("needs all of dtype, shape and data_offsets");
    TensorInfo& tensor = header_.tensors.back();
    if (offsets_[0] > offsets_[1]) return Fail("data_offsets end before they start");
    tensor.offset = offsets_[0];
    tensor.bytes = offsets_[1] - offsets_[0];
    const std::optional<uint64_t> needed = ShapeBytes(tensor.shape, element_bytes_);
    if (!needed.has_value()) return Fail("its shape is larger than any file");
    if (*needed == tensor.bytes) return Enter(Where::kTop);
    return Fail(absl::StrCat("its shape and dtype need ", *needed, " bytes, its data_offsets span ", tensor.bytes));
  }

  Where where_ = Where::kStart;
  std::string name_;  // of the entry being read
  std::string metadata_key_;
  bool has_metadata_ = false;
  unsigned seen_ = 0;  // fields of the current tensor
  uint64_t element_bytes_ = 0;
  std::vector<uint64_t> offsets_;
  Header header_;
  std::string error_;
};

// Offsets count from the data section, and nothing is compared with the file yet.
absl::StatusOr<Header> ParseHeader(const std::string& path, const std::string& text) {
  uint64_t consumed = 0;
  HeaderReader reader;
  const char* begin = text.data();
  if (!nlohmann::json::sax_parse(Cursor(begin, &consumed), Cursor(begin + text.size(), &consumed), &reader)) {
    return Damaged(path, kPrefixBytes + consumed, reader.error());
  }
  return std::move(reader.header());
}

absl::Status CheckUniqueNames(const std::string& path, absl::Span<const TensorInfo> sorted) {
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), SameName<TensorInfo>);
  if (twice == sorted.end()) return absl::OkStatus();
  return Damaged(path, kPrefixBytes, absl::StrCat("tensor ", Quote(twice->name), " is there twice"));
}

// Tensors must fill the data section from `begin` to `end` of the file, one after the other.
absl::Status CheckContiguous(const std::string& path, absl::Span<const TensorInfo> tensors, uint64_t begin,
                             uint64_t end) {
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  uint64_t expected = 0;
  for (const TensorInfo* tensor : by_offset) {
    if (tensor->offset != expected) {
      return Damaged(
          path, begin + expected,
          absl::StrCat("tensor ", Quote(tensor->name), " starts at ", tensor->offset, " of the data section where ",
                       expected, " was expected: ", tensor->offset < expected ? "tensors overlap" : "there is a gap"));
    }
    expected += tensor->bytes;
    if (expected > end - begin) {
      return Damaged(path, end,
                     absl::StrCat("tensor ", Quote(tensor->name), " ends at ", expected,
                                  " of the data section, of which the file has ", end - begin, " bytes"));
    }
  }
  if (expected == end - begin) return absl::OkStatus();
  return Damaged(path, end,
                 absl::StrCat("the header announces ", expected, " bytes of data, the file has ", end - begin));
}

}  // namespace

absl::StatusOr<std::string> ReadHeaderText(const std::string& path, uint64_t file_bytes, ByteReader read) {
  if (file_bytes < kPrefixBytes) return Damaged(path, file_bytes, "the file ends within its first 8 bytes");
  uint64_t length = 0;
  if (absl::Status status = read(0, &length, sizeof(length)); !status.ok()) return status;
  if (length > kMaxHeaderBytes || length > file_bytes - kPrefixBytes) {
    return Damaged(path, 0,
                   absl::StrCat("a header of ", length, " bytes is announced; the file has ", file_bytes - kPrefixBytes,
                                " and the limit is ", kMaxHeaderBytes));
  }
  std::string text(length, '\0');
  if (absl::Status status = read(kPrefixBytes, text.data(), length); !status.ok()) return status;
  return text;
}

absl::StatusOr<Header> ReadHeader(const std::string& path, const std::string& text, uint64_t file_bytes) {
  if (!absl::StartsWith(text, "{")) return Damaged(path, kPrefixBytes, "the header does not start with '{'");
  absl::StatusOr<Header> header = ParseHeader(path, text);
  if (!header.ok()) return header;
  std::vector<TensorInfo>& tensors = header->tensors;
  std::sort(tensors.begin(), tensors.end(), NameLess<TensorInfo>);
  absl::Status unique = CheckUniqueNames(path, tensors);
  if (!unique.ok()) return unique;
  const uint64_t data_offset = kPrefixBytes + text.size();
  absl::Status contiguous = CheckContiguous(path, tensors, data_offset, file_bytes);
  if (!contiguous.ok()) return contiguous;
  for (TensorInfo& tensor : tensors) tensor.offset += data_offset;
  return header;
}

}  // namespace lockstep::safetensors::internal
