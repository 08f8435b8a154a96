// Appends plain values to a string of bytes, each with its length where it has one, so that different values never look
// the same.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_BYTES_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_BYTES_H_

#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"

namespace lockstep::exploration {

class Bytes {
 public:
  // Appends to `out`, which outlives it.
  explicit Bytes(std::string& out) : out_(out) {}

  template <class... Values>
  Bytes& Add(const Values&... values) {
    (One(values), ...);
    return *this;
  }

 private:
  template <class Plain>
  requires std::is_arithmetic_v<Plain> || std::is_enum_v<Plain>
  void One(Plain value) {
    char raw[sizeof(value)];
    std::memcpy(raw, &value, sizeof(value));
    out_.append(raw, sizeof(value));
  }
  template <class Tag, class Integer>
  void One(Id<Tag, Integer> id) {
    One(id.value());
  }
  void One(const Member& member) { Add(member.rank, member.incarnation); }
  // The explored time stands still: what matters is whether something has happened.
  void One(absl::Time time) { One(time == absl::InfinitePast() ? 'p' : time == absl::InfiniteFuture() ? 'f' : 'n'); }
  void One(const std::string& text) {
    One(text.size());
    out_ += text;
  }
  template <class Element>
  void One(const std::vector<Element>& elements) {
    One(elements.size());
    for (const Element& element : elements) One(element);
  }
  void One(const std::vector<bool>& elements) {
    One(elements.size());
    for (const bool element : elements) One(element);
  }
  template <class Element>
  void One(const std::optional<Element>& element) {
    One(element.has_value());
    if (element) One(*element);
  }

  std::string& out_;
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_BYTES_H_
