// DirectWriter: bytes go to the disk without a stay in the system's page cache (O_DIRECT).
//
// For what is written once and is not read again soon, such as checkpoints. In the cache it would take fresh memory
// (which costs the processor more than the copy, on a virtual machine most of all), push out what is used, and be
// written back in one go by the Sync at the end.
//
//   bytes:   | head |          middle           | tail |
//   pages:  ----|----------|----------|----------|--------
//            cached      direct, piece by piece    cached
//
// Pages that the bytes fill in part go through the cache: another write may have the rest of them. Where the file
// system cannot do it (most that are in memory), everything does.
//
// Thread-safety: all of it, but for writes of overlapping bytes. Blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_DIRECT_WRITER_H_
#define LOCKSTEP_SERVER_STORAGE_DIRECT_WRITER_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "server/storage/file_system.h"

namespace lockstep::storage {

class DirectWriter {
 public:
  // Offsets, sizes and addresses are multiples of this: what every disk in use accepts.
  static constexpr size_t kPage = 4096;
  // Memory between the bytes and the disk, and the most that is written in one call.
  static constexpr size_t kPiece = 1 << 20;
  // So little goes through the cache: waiting for the disk would cost more.
  static constexpr size_t kLeast = 64 << 10;

  // Opens the file of `descriptor` once more; that one must be open for writing, and outlive this.
  explicit DirectWriter(int descriptor);
  ~DirectWriter();
  DirectWriter(const DirectWriter&) = delete;
  DirectWriter& operator=(const DirectWriter&) = delete;

  // As pwrite: writes the first of `bytes` at `offset`; how many, or -1 and errno. Interrupted: -1 and EINTR.
  ssize_t Write(uint64_t offset, Bytes bytes);

  // The file system can do it, as far as is known by now.
  bool can() const;

 private:
  struct Free {
    void operator()(std::byte* piece) const;
  };
  ssize_t WritePiece(uint64_t offset, Bytes bytes);

  const int descriptor_;
  mutable Mutex mutex_;
  int direct_ ABSL_GUARDED_BY(mutex_);                              // -1: the file system cannot do it
  std::unique_ptr<std::byte, Free> piece_ ABSL_GUARDED_BY(mutex_);  // at a page's boundary; null until it is needed
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_DIRECT_WRITER_H_
