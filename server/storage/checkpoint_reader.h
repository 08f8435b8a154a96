// All files of a checkpoint as one: any elements of any tensor, from whichever files hold them.
//
// Thread-safety: none; one thread at a time.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_READER_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/storage/checkpoint_file.h"
#include "server/storage/file_system.h"
#include "server/storage/manifest.h"

namespace lockstep::storage::internal {

class CheckpointReader {
 public:
  enum class Coverage {
    kWholeModel,  // the files must hold every element of the model once, in every section
    kPart,        // what they hold will be seen when it is read
  };
  // Opens all files and checks that they hold no element twice, and all that `coverage` says. `folder`: of this
  // version. DATA_LOSS: they do not, or see CheckpointFileReader::Open.
  static absl::StatusOr<CheckpointReader> Open(FileSystem& files, const std::string& folder, const Manifest& manifest,
                                               Coverage coverage = Coverage::kWholeModel);

  size_t sections() const { return sections_.size(); }

  // Reads elements of the tensor that the manifest's model has at index `tensor`, from `first` on. DATA_LOSS as
  // CheckpointFileReader::ReadChunk, or no file has them: what is in `into` must not be used.
  absl::Status Read(size_t section, uint32_t tensor, int64_t first, absl::Span<float> into);

  // Reads every byte of every file.
  absl::Status CheckAll() const;

 private:
  struct Source {
    const CheckpointFileReader* file = nullptr;
    const CheckpointPart* part = nullptr;
  };
  // The chunk that was last read in part: neighbouring blocks share it.
  struct LastChunk {
    const CheckpointPart* part = nullptr;
    int64_t chunk = 0;
    std::vector<float> values;
  };

  absl::Status Index(const ModelSpec& model);
  absl::Status IndexPart(const CheckpointFileReader& file, const CheckpointPart& part, const ModelSpec& model,
                         const std::map<std::string, uint32_t>& tensor_of);
  absl::Status CheckCoverage(const std::string& folder, const ModelSpec& model) const;
  // Reads a piece of one chunk, that begins `skip` elements into it.
  absl::Status ReadPiece(LastChunk& last, const Source& source, int64_t chunk, int64_t skip, absl::Span<float> into);

  std::string folder_;
  std::vector<std::string> sections_;
  std::vector<CheckpointFileReader> files_;
  // By section and tensor, then by first element.
  std::map<std::pair<size_t, uint32_t>, std::map<int64_t, Source>> sources_;
  std::vector<LastChunk> last_;  // by section
};

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_READER_H_
