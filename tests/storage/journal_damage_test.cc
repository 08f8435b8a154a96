// Flipped bits, cut, missing, swapped and duplicated files: found, or without any consequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/storage/journal.h"
#include "server/storage/journal_format.h"
#include "server/storage/journal_index.h"
#include "tests/storage/faulty_files.h"
#include "tests/storage/journal_script.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

using Disk = std::map<std::string, std::string>;

const std::string kIndex = storage::JournalIndexPath(JournalScript::kFolder);

// A journal of several segments, some of them used more than once, and spares.
struct Written {
  Disk disk;
  std::vector<std::string> texts;
  // Of the segments that the index lists, by path: which bytes mean something, up to the end of the last record.
  std::map<std::string, std::vector<bool>> meant;
};

absl::Status Recovered(FaultyFiles& files, std::vector<std::string>& texts) {
  JournalTexts visitor;
  const auto journal = storage::Journal::Recover(files, JournalScript::kFolder, {}, visitor);
  texts = visitor.texts;
  if (journal.ok() && *journal == nullptr) return absl::NotFoundError("no journal");
  return journal.status();
}

// The bytes of one segment that are not padding.
std::vector<bool> Meant(const std::string& bytes, uint64_t nonce, const storage::RecordLayout& layout) {
  std::vector<bool> meant(storage::kFirstRecordOffset);
  const auto mark = [&](uint64_t at, uint64_t size) {
    std::fill_n(meant.begin() + static_cast<ptrdiff_t>(at), size, true);
  };
  mark(0, sizeof(storage::SegmentHeader));
  for (const uint64_t parity : {0, 1}) mark(storage::MarkOffset(parity), sizeof(storage::CommitMark));
  while (meant.size() + sizeof(storage::RecordHead) <= bytes.size()) {
    const uint64_t at = meant.size();
    storage::RecordHead head;
    bytes.copy(reinterpret_cast<char*>(&head), sizeof(head), at);
    if (!storage::IsSealed(head, nonce, at)) break;
    meant.resize(at + layout.record_bytes(head.contents, head.participants));
    mark(at, sizeof(head));
    for (size_t i = 0; i < layout.blocks(head.contents); ++i) {
      const Slot slot(static_cast<uint32_t>(i));
      mark(at + layout.block_offset(slot), layout.elements(slot) * sizeof(float));
    }
    mark(at + layout.details_offset(head.contents), layout.details_bytes(head.contents, head.participants));
  }
  return meant;
}

Written Write(bool sync, Random& random) {
  FaultyFiles files(random());
  JournalScript script(files, sync, random());
  EXPECT_EQ(script.Create(), absl::OkStatus());
  for (int step = 0; step < 100 || script.journal().live_bytes() < 150'000; ++step) {
    EXPECT_EQ(script.Step(), absl::OkStatus());
  }
  Written written{.disk = files.Contents(), .texts = {}, .meant = {}};
  EXPECT_EQ(Recovered(files, written.texts), absl::OkStatus());
  const auto index = storage::DecodeJournalIndex(kIndex, written.disk[kIndex]);
  const storage::RecordLayout layout(index->identity.elements);
  for (const storage::SegmentEntry& entry : index->segments) {
    const std::string path = absl::StrCat(JournalScript::kFolder, "/", storage::SegmentName(entry.number));
    written.meant[path] = Meant(written.disk[path], entry.nonce, layout);
  }
  return written;
}

// Why it may be that a change at this place has no consequence.
std::string Place(const Written& written, const std::string& path, uint64_t offset) {
  if (path == kIndex) return "index";
  const auto found = written.meant.find(path);
  if (found == written.meant.end()) return "spare segment";
  const std::vector<bool>& meant = found->second;
  if (offset >= meant.size()) return "space after the last record";
  if (!meant[offset]) return "padding of a page";
  if (offset < storage::kJournalPage) return "segment header";
  return offset < storage::kFirstRecordOffset ? "commit mark, of which the other one tells" : "record";
}

// A byte of a file that is in use; of any other one time in ten.
std::pair<std::string, uint64_t> AnyPlace(const Written& written, Random& random) {
  const bool in_use = random() % 10 != 0;
  uint64_t total = 0;
  for (const auto& [path, bytes] : written.disk) {
    if (Place(written, path, 0) != "spare segment" || !in_use) total += bytes.size();
  }
  uint64_t at = Uniform(random, 0, total - 1);
  for (const auto& [path, bytes] : written.disk) {
    if (Place(written, path, 0) == "spare segment" && in_use) continue;
    if (at < bytes.size()) return {path, at};
    at -= bytes.size();
  }
  return {};
}

class Tally {
 public:
  // Recovers from `disk`; what comes back is the same or DATA_LOSS, and up to there the same.
  void Try(const Written& written, const Disk& disk, const std::string& place) {
    FaultyFiles files(1);
    files.SetContents(disk);
    std::vector<std::string> texts;
    const absl::Status status = Recovered(files, texts);
    if (absl::IsDataLoss(status)) {
      ++detected_;
      EXPECT_TRUE(absl::StrContains(status.message(), "damaged at byte ")) << status;
      EXPECT_TRUE(absl::StartsWith(status.message(), JournalScript::kFolder)) << status;
      EXPECT_LE(texts.size(), written.texts.size());
      EXPECT_TRUE(std::equal(texts.begin(), texts.end(), written.texts.begin())) << place;
      return;
    }
    ASSERT_EQ(status, absl::OkStatus()) << place;
    ASSERT_EQ(texts, written.texts) << place;
    ++harmless_[place];
  }

  void Print() const {
    std::printf("%d detected;", detected_);
    for (const auto& [place, count] : harmless_) std::printf(" %d harmless: %s;", count, place.c_str());
    std::printf("\n");
  }
  int detected() const { return detected_; }
  const std::map<std::string, int>& harmless() const { return harmless_; }

 private:
  int detected_ = 0;
  std::map<std::string, int> harmless_;
};

void TryFlip(Tally& tally, const Written& written, Disk& disk, const std::string& path, uint64_t offset, int bit) {
  disk[path][offset] ^= static_cast<char>(1 << bit);
  SCOPED_TRACE(absl::StrCat(path, " byte ", offset, " bit ", bit));
  tally.Try(written, disk, Place(written, path, offset));
  disk[path] = written.disk.at(path);
}

TEST(JournalDamageTest, Bit_FlippedAtTenThousandPlaces_IsFoundOrHarmless) {
  Tally tally;
  ForEachSeed(10, [&](Random& random) {
    const Written written = Write(random() % 2 == 0, random);
    Disk disk = written.disk;
    for (int i = 0; i < 1000 && !::testing::Test::HasFailure(); ++i) {
      const auto [path, offset] = AnyPlace(written, random);
      TryFlip(tally, written, disk, path, offset, static_cast<int>(random() % 8));
    }
  });
  tally.Print();
  EXPECT_EQ(tally.harmless().count("record"), 0u);
  EXPECT_EQ(tally.harmless().count("index"), 0u);
  EXPECT_EQ(tally.harmless().count("segment header"), 0u);
}

TEST(JournalDamageTest, Bit_FlippedInAnyHeaderHeadMarkOrIndex_IsFoundOrHarmless) {
  Tally tally;
  ForEachSeed(1, [&](Random& random) {
    const Written written = Write(random() % 2 == 0, random);
    Disk disk = written.disk;
    for (const auto& [path, bytes] : written.disk) {
      for (uint64_t at = 0; at < bytes.size() && !::testing::Test::HasFailure(); ++at) {
        const auto found = written.meant.find(path);
        const bool is_meant = found != written.meant.end() && at < found->second.size() && found->second[at];
        if (path == kIndex || (is_meant && at % storage::kJournalPage < sizeof(storage::RecordHead))) {
          TryFlip(tally, written, disk, path, at, static_cast<int>(random() % 8));
        }
      }
    }
  });
  tally.Print();
}

TEST(JournalDamageTest, File_CutAtAnyRecordOrAnywhere_IsFoundOrHarmless) {
  Tally tally;
  ForEachSeed(5, [&](Random& random) {
    const Written written = Write(random() % 2 == 0, random);
    for (const auto& [path, bytes] : written.disk) {
      std::vector<uint64_t> sizes = {0, bytes.size() - 1};
      for (uint64_t at = 0; at < bytes.size(); at += storage::kJournalPage) {  // every record begins on a page
        for (const uint64_t size : {at, at + 1, at + sizeof(storage::RecordHead) - 1}) sizes.push_back(size);
      }
      for (int i = 0; i < 50; ++i) sizes.push_back(Uniform(random, 0, bytes.size() - 1));
      for (const uint64_t size : sizes) {
        Disk disk = written.disk;
        disk[path].resize(std::min(size, bytes.size()));
        SCOPED_TRACE(absl::StrCat(path, " cut to ", size, " of ", bytes.size()));
        tally.Try(written, disk, Place(written, path, size));
        if (::testing::Test::HasFailure()) return;
      }
    }
  });
  tally.Print();
  EXPECT_EQ(tally.harmless().count("record"), 0u);
}

TEST(JournalDamageTest, File_MissingSwappedOrDuplicated_IsFoundOrHarmless) {
  Tally missing, swapped, duplicated;
  ForEachSeed(10, [&](Random& random) {
    const Written written = Write(random() % 2 == 0, random);
    for (const auto& [path, bytes] : written.disk) {
      const auto place = [&](const std::string& other) {
        return Place(written, path, 0) + " and " + Place(written, other, 0);
      };
      Disk disk = written.disk;
      disk.erase(path);
      missing.Try(written, disk, Place(written, path, 0));
      for (const auto& [other, other_bytes] : written.disk) {
        if (other == path) continue;
        disk = written.disk;
        disk[path] = other_bytes;
        duplicated.Try(written, disk, place(other));
        disk[other] = bytes;
        swapped.Try(written, disk, place(other));
      }
      disk = written.disk;
      disk[absl::StrCat(JournalScript::kFolder, "/", storage::SegmentName(4711))] = bytes;
      duplicated.Try(written, disk, "as a spare");
    }
  });
  missing.Print();
  swapped.Print();
  duplicated.Print();
  EXPECT_EQ(missing.harmless().count("segment header"), 0u);
  EXPECT_EQ(missing.harmless().count("index"), 0u);
}

}  // namespace
}  // namespace lockstep::testing
