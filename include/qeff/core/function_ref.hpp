/// @file
/// A reference to something that can be called; no allocation.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace qeff {

template <class Signature>
class FunctionRef;

/// The callable must outlive it.
template <class... Arguments>
class FunctionRef<void(Arguments...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_v<F&, Arguments...>)
  FunctionRef(F&& f) noexcept  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Arguments... arguments) {
          (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Arguments>(arguments)...);
        }) {}
  void operator()(Arguments... arguments) const { call_(object_, std::forward<Arguments>(arguments)...); }

 private:
  void* object_;
  void (*call_)(void*, Arguments...);
};

}  // namespace qeff
