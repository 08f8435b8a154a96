#include "common/safetensors/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep::safetensors {
namespace {

static_assert(std::endian::native == std::endian::little, "the format's numbers are little-endian");

constexpr uint64_t kPrefixBytes = 8;
constexpr size_t kMaxDimensions = 64;
constexpr uint64_t kMaxDataBytes = std::numeric_limits<int64_t>::max() - kMaxHeaderBytes - 8;
constexpr absl::string_view kMetadataKey = "__metadata__";

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

// Text from a file, fit for a message: printable, and not endless.
std::string Quote(absl::string_view text) {
  constexpr size_t kLongest = 80;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kLongest)), text.size() > kLongest ? "...'" : "'");
}

absl::Status Damaged(absl::string_view path, uint64_t offset, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": byte ", offset, ": ", what,
                                          ". The file is damaged or not a .safetensors file: use "
                                          "another copy"));
}

absl::Status SystemError(int error, absl::string_view doing, absl::string_view path) {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " ", path));
}

// product(shape) x element_bytes; nothing when that is negative or beyond any file.
std::optional<uint64_t> ShapeBytes(absl::Span<const int64_t> shape, uint64_t element_bytes) {
  uint64_t bytes = element_bytes;
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty |= extent == 0;
    if (empty) continue;
    if (bytes > kMaxDataBytes / static_cast<uint64_t>(extent)) return std::nullopt;
    bytes *= static_cast<uint64_t>(extent);
  }
  return empty ? 0 : bytes;
}

template <typename Tensor>
bool NameLess(const Tensor& a, const Tensor& b) {
  return a.name < b.name;
}

template <typename Tensor>
bool SameName(const Tensor& a, const Tensor& b) {
  return a.name == b.name;
}

// ---------------------------------------------------------------------------------------------
// Reading a header. The parser drives `HeaderReader` token by token: no tree is built, so that a
// hostile header costs no more memory than the tensors that it lists.

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

// What a header says, before it is compared with the file. Offsets count from the data section.
struct Header {
  std::vector<TensorInfo> tensors;
  Metadata metadata;
};

// Accepts exactly: { name: {dtype: string, shape: [n...], data_offsets: [n, n]},
// "__metadata__": {string: string} }. A method that returns false ends the parsing.
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
    if (expected > end - begin) break;
  }
  if (expected == end - begin) return absl::OkStatus();
  return Damaged(path, end,
                 absl::StrCat("the header announces ", expected, expected > end - begin ? "+" : "",
                              " bytes of data, the file has ", end - begin));
}

// ---------------------------------------------------------------------------------------------
// Writing a header.

// `text` as a JSON string. INVALID_ARGUMENT when it is not UTF-8.
absl::StatusOr<std::string> JsonString(const std::string& text) {
  using nlohmann::json;
  std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  // Bytes that are not UTF-8 come back as replacement characters.
  if (json::parse(quoted, nullptr, false) == json(text)) return quoted;
  return absl::InvalidArgumentError(
      absl::StrCat(Quote(text), " is not valid UTF-8, which a .safetensors header must be"));
}

absl::StatusOr<std::string> MetadataJson(const Metadata& metadata) {
  std::string json;
  for (const auto& [key, value] : metadata) {
    absl::StatusOr<std::string> key_json = JsonString(key);
    if (!key_json.ok()) return key_json.status();
    absl::StatusOr<std::string> value_json = JsonString(value);
    if (!value_json.ok()) return value_json.status();
    absl::StrAppend(&json, json.empty() ? "" : ",", *key_json, ":", *value_json);
  }
  return absl::StrCat("{", json, "}");
}

std::string ShapeJson(absl::Span<const int64_t> shape) {
  std::string json;
  for (const int64_t extent : shape) absl::StrAppend(&json, json.empty() ? "" : ",", extent);
  return absl::StrCat("[", json, "]");
}

// The header's entry for a tensor at `*offset`, which moves on behind it.
absl::StatusOr<std::string> TensorJson(const TensorSpec& tensor, uint64_t* offset) {
  absl::StatusOr<std::string> name = JsonString(tensor.name);
  if (!name.ok()) return name.status();
  const std::optional<uint64_t> bytes = ShapeBytes(tensor.shape, sizeof(float));
  if (!bytes.has_value() || *bytes > kMaxDataBytes - *offset || tensor.shape.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quote(tensor.name), " has an impossible shape ",
                                                   ShapeJson(tensor.shape), ": dimensions must be 0 or more, at most ",
                                                   kMaxDimensions, " of them, and the data must fit in a file"));
  }
  const uint64_t begin = *offset;
  *offset += *bytes;
  return absl::StrCat(*name, ":{\"dtype\":\"F32\",\"shape\":", ShapeJson(tensor.shape), ",\"data_offsets\":[", begin,
                      ",", *offset, "]}");
}

// The JSON text, padded, for tensors in their final order. `*data_bytes` becomes their total size.
absl::StatusOr<std::string> HeaderJson(absl::Span<const TensorSpec> order, const Metadata& metadata,
                                       uint64_t* data_bytes) {
  std::string json = "{";
  if (!metadata.empty()) {
    absl::StatusOr<std::string> entry = MetadataJson(metadata);
    if (!entry.ok()) return entry.status();
    absl::StrAppend(&json, "\"", kMetadataKey, "\":", *entry);
  }
  *data_bytes = 0;
  for (const TensorSpec& tensor : order) {
    absl::StatusOr<std::string> entry = TensorJson(tensor, data_bytes);
    if (!entry.ok()) return entry.status();
    absl::StrAppend(&json, json.size() > 1 ? "," : "", *entry);
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

absl::Status CheckNames(absl::Span<const TensorSpec> sorted) {
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), SameName<TensorSpec>);
  if (twice != sorted.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("two tensors are named ", Quote(twice->name), ": names must be unique"));
  }
  for (const TensorSpec& tensor : sorted) {
    if (tensor.name == kMetadataKey) {
      return absl::InvalidArgumentError("a tensor cannot be named __metadata__: it is reserved");
    }
  }
  return absl::OkStatus();
}

// Makes the entries of the folder that holds `path` durable.
absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  internal::Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.open() || ::fsync(fd.get()) != 0) return SystemError(errno, "syncing folder", folder);
  return absl::OkStatus();
}

std::vector<const TensorView*> SortedByName(absl::Span<const TensorView> tensors) {
  std::vector<const TensorView*> sorted;
  for (const TensorView& tensor : tensors) sorted.push_back(&tensor);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const TensorView* a, const TensorView* b) { return a->name < b->name; });
  return sorted;
}

absl::Status CheckData(const TensorView& tensor) {
  const std::optional<uint64_t> bytes = ShapeBytes(tensor.shape, sizeof(float));
  if (bytes == tensor.data.size() * sizeof(float)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quote(tensor.name), " of shape ", ShapeJson(tensor.shape),
                                                 " comes with ", tensor.data.size(), " elements"));
}

}  // namespace

namespace internal {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (open()) ::close(fd_);
}

int Descriptor::release() { return std::exchange(fd_, -1); }

}  // namespace internal

// --- Writer ----------------------------------------------------------------------------------

Writer::Writer(std::string path, std::vector<TensorSpec> order) : path_(std::move(path)), order_(std::move(order)) {}

Writer::~Writer() {
  if (file_.open()) ::unlink(temporary_path().c_str());
}

absl::StatusOr<Writer> Writer::Create(std::string path, std::vector<TensorSpec> tensors, const Metadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), NameLess<TensorSpec>);
  absl::Status names = CheckNames(tensors);
  if (!names.ok()) return names;
  Writer writer(std::move(path), std::move(tensors));
  uint64_t data_bytes = 0;
  absl::StatusOr<std::string> header = HeaderJson(writer.order_, metadata, &data_bytes);
  if (!header.ok()) return header.status();
  if (header->size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(writer.path_, ": the header would take ", header->size(),
                                                   " bytes; the format's limit is ", kMaxHeaderBytes));
  }
  writer.expected_ = kPrefixBytes + header->size() + data_bytes;
  absl::Status started = writer.Start(*header);
  if (!started.ok()) return started;
  return writer;
}

absl::Status Writer::Start(const std::string& header) {
  const std::string path = temporary_path();
  file_ = internal::Descriptor(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH));
  if (!file_.open()) return status_ = SystemError(errno, "creating", path);
  const uint64_t length = header.size();
  absl::Status prefix = WriteBytes(&length, sizeof(length));
  return prefix.ok() ? WriteBytes(header.data(), header.size()) : prefix;
}

absl::Status Writer::WriteBytes(const void* bytes, uint64_t size) {
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t count = ::write(file_.get(), next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : EIO;
      return status_ = SystemError(error, "writing",
                                   absl::StrCat(temporary_path(), " at byte ", written_, " of ", expected_));
    }
    next += count;
    size -= count;
    written_ += count;
  }
  return absl::OkStatus();
}

absl::Status Writer::Append(absl::Span<const float> elements) {
  if (!status_.ok()) return status_;
  if (!file_.open()) return absl::FailedPreconditionError(path_ + ": Append after Finish");
  const uint64_t bytes = elements.size() * sizeof(float);
  if (bytes > expected_ - written_) {
    return status_ = absl::OutOfRangeError(absl::StrCat(
               path_, ": ", bytes, " bytes appended where the shapes leave room for ", expected_ - written_));
  }
  return WriteBytes(elements.data(), bytes);
}

absl::Status Writer::Finish() {
  if (!status_.ok()) return status_;
  if (!file_.open()) return absl::FailedPreconditionError(path_ + ": Finish called twice");
  if (written_ != expected_) {
    return status_ = absl::FailedPreconditionError(absl::StrCat(path_, ": finished after ", written_, " of ", expected_,
                                                                " bytes: not all elements were appended"));
  }
  return status_ = Publish();
}

absl::Status Writer::Publish() {
  const std::string temporary = temporary_path();
  if (::fsync(file_.get()) != 0) return SystemError(errno, "syncing", temporary);
  if (::rename(temporary.c_str(), path_.c_str()) != 0) {
    return SystemError(errno, absl::StrCat("renaming ", temporary, " to"), path_);
  }
  internal::Descriptor done = std::move(file_);
  return SyncFolderOf(path_);
}

absl::Status WriteFile(const std::string& path, absl::Span<const TensorView> tensors, const Metadata& metadata) {
  std::vector<TensorSpec> specs;
  for (const TensorView& tensor : tensors) {
    absl::Status checked = CheckData(tensor);
    if (!checked.ok()) return checked;
    specs.push_back({tensor.name, tensor.shape});
  }
  absl::StatusOr<Writer> writer = Writer::Create(path, std::move(specs), metadata);
  if (!writer.ok()) return writer.status();
  for (const TensorView* tensor : SortedByName(tensors)) {
    absl::Status appended = writer->Append(tensor->data);
    if (!appended.ok()) return appended;
  }
  return writer->Finish();
}

// --- File ------------------------------------------------------------------------------------

absl::StatusOr<File> File::Open(const std::string& path) {
  // O_NONBLOCK: a named pipe in the place of the file must not make us wait for a writer.
  File file(path, internal::Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
  if (!file.file_.open()) return SystemError(errno, "opening", path);
  struct stat info;
  if (::fstat(file.file_.get(), &info) != 0) return SystemError(errno, "examining", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(path + ": not a regular file");
  file.size_ = info.st_size;
  absl::Status loaded = file.LoadHeader();
  if (!loaded.ok()) return loaded;
  return file;
}

absl::Status File::LoadHeader() {
  uint64_t length = 0;
  if (size_ < kPrefixBytes) return Damaged(path_, size_, "the file ends within its first 8 bytes");
  absl::Status read = ReadBytes(0, &length, sizeof(length));
  if (!read.ok()) return read;
  if (length > kMaxHeaderBytes || length > size_ - kPrefixBytes) {
    return Damaged(path_, 0,
                   absl::StrCat("a header of ", length, " bytes is announced; the file has ", size_ - kPrefixBytes,
                                " and the limit is ", kMaxHeaderBytes));
  }
  std::string text(length, '\0');
  read = ReadBytes(kPrefixBytes, text.data(), length);
  if (!read.ok()) return read;
  if (!absl::StartsWith(text, "{")) return Damaged(path_, 8, "the header does not start with '{'");
  absl::StatusOr<Header> header = ParseHeader(path_, text);
  if (!header.ok()) return header.status();
  data_offset_ = kPrefixBytes + length;
  tensors_ = std::move(header->tensors);
  metadata_ = std::move(header->metadata);
  std::sort(tensors_.begin(), tensors_.end(), NameLess<TensorInfo>);
  absl::Status unique = CheckUniqueNames(path_, tensors_);
  if (!unique.ok()) return unique;
  absl::Status contiguous = CheckContiguous(path_, tensors_, data_offset_, size_);
  for (TensorInfo& tensor : tensors_) tensor.offset += data_offset_;
  return contiguous;
}

absl::Status File::ReadBytes(uint64_t offset, void* out, uint64_t size) const {
  char* next = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t count = ::pread(file_.get(), next, size, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(errno, "reading", absl::StrCat(path_, " at byte ", offset));
    if (count == 0) return Damaged(path_, offset, "the file became shorter while it was open");
    next += count;
    size -= count;
    offset += count;
  }
  return absl::OkStatus();
}

const TensorInfo* File::Find(absl::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const TensorInfo& tensor, absl::string_view n) { return tensor.name < n; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

absl::Status File::Read(absl::string_view name, absl::Span<float> out) const {
  const TensorInfo* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", Quote(name)));
  }
  if (tensor->dtype == "F32" && tensor->bytes != out.size() * sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quote(name), " has ",
                                                   tensor->bytes / sizeof(float), " elements ",
                                                   ShapeJson(tensor->shape), "; ", out.size(), " were expected"));
  }
  return ReadPart(*tensor, 0, out);
}

absl::Status File::ReadPart(const TensorInfo& tensor, uint64_t first, absl::Span<float> out) const {
  if (tensor.dtype != "F32") {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", Quote(tensor.name), " is ", tensor.dtype, "; F32 was expected"));
  }
  const uint64_t elements = tensor.bytes / sizeof(float);
  if (first > elements || out.size() > elements - first) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": ", out.size(), " elements from ", first, " on asked of tensor ",
                                              Quote(tensor.name), ", which has ", elements));
  }
  return ReadBytes(tensor.offset + first * sizeof(float), out.data(), out.size() * sizeof(float));
}

absl::StatusOr<std::string> File::DataFingerprint() const {
  Fingerprinter fingerprinter;
  std::vector<char> buffer(std::min<uint64_t>(size_ - data_offset_, 1 << 20));
  for (uint64_t at = data_offset_; at < size_; at += buffer.size()) {
    buffer.resize(std::min<uint64_t>(buffer.size(), size_ - at));
    absl::Status read = ReadBytes(at, buffer.data(), buffer.size());
    if (!read.ok()) return read;
    fingerprinter.Update(buffer.data(), buffer.size());
  }
  return fingerprinter.Hex();
}

// --- Fingerprints ----------------------------------------------------------------------------

struct Fingerprinter::State {
  XXH3_state_t* xxh3 = XXH3_createState();
  ~State() { XXH3_freeState(xxh3); }
};

Fingerprinter::Fingerprinter() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh3); }

Fingerprinter::~Fingerprinter() = default;

void Fingerprinter::Update(const void* bytes, size_t size) {
  if (size > 0) XXH3_128bits_update(state_->xxh3, bytes, size);
}

void Fingerprinter::Update(absl::Span<const float> elements) {
  Update(elements.data(), elements.size() * sizeof(float));
}

std::string Fingerprinter::Hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh3);
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

absl::StatusOr<std::string> Fingerprint(const std::string& path) {
  absl::StatusOr<File> file = File::Open(path);
  if (!file.ok()) return file.status();
  return file->DataFingerprint();
}

std::string FingerprintOf(absl::Span<const TensorView> tensors) {
  Fingerprinter fingerprinter;
  for (const TensorView* tensor : SortedByName(tensors)) fingerprinter.Update(tensor->data);
  return fingerprinter.Hex();
}

}  // namespace lockstep::safetensors
