#include "server/storage/checkpoint_reader.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/storage/checkpoint_chunks.h"
#include "server/storage/checkpoint_names.h"

namespace lockstep::storage::internal {
namespace {

absl::Status NotWhole(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, ". The checkpoint is not whole: use another one"));
}

}  // namespace

absl::StatusOr<CheckpointReader> CheckpointReader::Open(FileSystem& files, const std::string& folder,
                                                        const Manifest& manifest, Coverage coverage) {
  CheckpointReader reader;
  reader.folder_ = folder;
  reader.sections_ = Sections(manifest.identity.optimizer);
  reader.last_.resize(reader.sections_.size());
  for (const CheckpointFile& file : manifest.files) {
    absl::StatusOr<CheckpointFileReader> opened =
        CheckpointFileReader::Open(files, absl::StrCat(folder, "/", file.name), manifest.identity, file);
    if (!opened.ok()) return opened.status();
    reader.files_.push_back(*std::move(opened));
  }
  if (absl::Status status = reader.Index(manifest.model); !status.ok()) return status;
  if (coverage == Coverage::kPart) return reader;
  if (absl::Status status = reader.CheckCoverage(folder, manifest.model); !status.ok()) return status;
  return reader;
}

absl::Status CheckpointReader::Index(const ModelSpec& model) {
  std::map<std::string, uint32_t> tensor_of;
  for (uint32_t t = 0; t < model.tensors.size(); ++t) tensor_of[model.tensors[t].name] = t;
  for (const CheckpointFileReader& file : files_) {
    for (const CheckpointPart& part : file.parts()) {
      if (absl::Status status = IndexPart(file, part, model, tensor_of); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::IndexPart(const CheckpointFileReader& file, const CheckpointPart& part,
                                         const ModelSpec& model, const std::map<std::string, uint32_t>& tensor_of) {
  const auto tensor = tensor_of.find(part.name.tensor);
  if (tensor == tensor_of.end()) {
    return NotWhole(file.path(),
                    absl::StrCat("'", absl::CHexEscape(part.text), "' is of no tensor of the manifest's model"));
  }
  auto& sources = sources_[{part.name.section, tensor->second}];
  if (!sources.emplace(part.first, Source{&file, &part}).second) {
    return NotWhole(file.path(), absl::StrCat("element ", part.first, " of ", ToString(model.tensors[tensor->second]),
                                              " in section ", sections_[part.name.section], " is there twice"));
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::CheckCoverage(const std::string& folder, const ModelSpec& model) const {
  for (size_t section = 0; section < sections_.size(); ++section) {
    for (uint32_t t = 0; t < model.tensors.size(); ++t) {
      const auto sources = sources_.find({section, t});
      int64_t covered = 0;
      if (sources != sources_.end()) {
        for (const auto& [first, source] : sources->second) {
          if (first != covered) break;
          covered += source.part->elements;
        }
      }
      if (covered == model.tensors[t].elements()) continue;
      return NotWhole(folder, absl::StrCat("the files hold elements 0 to ", covered, " of ", ToString(model.tensors[t]),
                                           " in section ", sections_[section], ", and not what should follow"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::Read(size_t section, uint32_t tensor, int64_t first, absl::Span<float> into) {
  const auto& sources = sources_[{section, tensor}];
  auto source = sources.upper_bound(first);
  if (source != sources.begin()) --source;
  while (!into.empty()) {
    if (source == sources.end() || first < source->first || first >= source->first + source->second.part->elements) {
      return NotWhole(folder_, absl::StrCat("no file holds element ", first, " of tensor ", tensor, " in section ",
                                            sections_[section]));
    }
    const CheckpointPart& part = *source->second.part;
    const int64_t within = first - part.first;
    const int64_t chunk = within / kChunkElements;
    const int64_t skip = within % kChunkElements;
    const int64_t size = std::min<int64_t>(ElementsOfChunk(part.elements, chunk) - skip, into.size());
    absl::Status read = ReadPiece(last_[section], source->second, chunk, skip, into.first(static_cast<size_t>(size)));
    if (!read.ok()) return read;
    first += size;
    into.remove_prefix(static_cast<size_t>(size));
    if (first == part.first + part.elements) ++source;
  }
  return absl::OkStatus();
}

absl::Status CheckpointReader::ReadPiece(LastChunk& last, const Source& source, int64_t chunk, int64_t skip,
                                         absl::Span<float> into) {
  const int64_t elements = ElementsOfChunk(source.part->elements, chunk);
  if (elements == static_cast<int64_t>(into.size())) return source.file->ReadChunk(*source.part, chunk, into);
  if (last.part != source.part || last.chunk != chunk) {
    last.part = nullptr;
    last.values.resize(static_cast<size_t>(elements));
    absl::Status read = source.file->ReadChunk(*source.part, chunk, absl::MakeSpan(last.values));
    if (!read.ok()) return read;
    last.part = source.part;
    last.chunk = chunk;
  }
  std::copy_n(last.values.begin() + skip, into.size(), into.begin());
  return absl::OkStatus();
}

absl::Status CheckpointReader::CheckAll() const {
  for (const CheckpointFileReader& file : files_) {
    if (absl::Status status = file.CheckAll(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace lockstep::storage::internal
