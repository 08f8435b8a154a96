#include "worker/trainer/input_file.h"

#include <zlib.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lockstep::trainer {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

struct CloseGzip {
  void operator()(gzFile_s* file) const { gzclose_r(file); }
};
using GzipFile = std::unique_ptr<gzFile_s, CloseGzip>;

absl::StatusOr<GzipFile> Open(const std::string& path) {
  errno = 0;
  GzipFile file(gzopen(path.c_str(), "rbe"));
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  gzbuffer(file.get(), kChunk);
  return file;
}

// What zlib has to say after a read that failed or reached the end.
absl::Status ReadStatus(gzFile_s* file, const std::string& path, uint64_t offset) {
  const int saved_errno = errno;
  int code = Z_OK;
  const char* message = gzerror(file, &code);
  if (code == Z_OK || code == Z_STREAM_END) return absl::OkStatus();
  if (code == Z_ERRNO) return absl::ErrnoToStatus(saved_errno, absl::StrCat(path, ": cannot read"));
  const absl::string_view reason = code == Z_BUF_ERROR ? "the compressed data end too early (truncated file)" : message;
  return absl::DataLossError(
      absl::StrCat(path, ": damaged gzip data after ", offset, " unpacked bytes: ", reason, "; fetch the file again"));
}

absl::Status TooLarge(const std::string& path, uint64_t max_bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(path, ": holds more than ", max_bytes,
                                                   " bytes unpacked, the most that the trainer "
                                                   "takes; use a smaller part of the data"));
}

}  // namespace

absl::StatusOr<std::string> ReadInputFile(const std::string& path, uint64_t max_bytes) {
  absl::StatusOr<GzipFile> file = Open(path);
  if (!file.ok()) return file.status();
  std::string bytes;
  std::vector<char> chunk(kChunk);
  while (true) {
    errno = 0;
    const int count = gzread(file->get(), chunk.data(), static_cast<unsigned>(chunk.size()));
    if (count > 0) bytes.append(chunk.data(), static_cast<size_t>(count));
    if (bytes.size() > max_bytes) return TooLarge(path, max_bytes);
    if (count < static_cast<int>(chunk.size())) break;
  }
  if (auto status = ReadStatus(file->get(), path, bytes.size()); !status.ok()) return status;
  return bytes;
}

}  // namespace lockstep::trainer
