#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace virga {

/// Reads JSON from front to end without building anything: for answers whose strings are megabytes. Whoever asks for a
/// value of another kind than stands there, and text that is no JSON, gets Error(kCorrupt). Words are only skipped.
class JsonScanner {
 public:
  /// `what`: the text's name, in errors. Both stay the caller's.
  JsonScanner(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  /// Calls `on_member(name)` for each member, which takes the value: by one call of this object. `name` lives until
  /// then.
  template <typename OnMember>
  void object(const OnMember& on_member) {
    expect('{');
    const Level level(*this);
    if (take('}')) return;
    do {
      const std::string name(string());
      expect(':');
      on_member(std::string_view(name));
    } while (take(','));
    expect('}');
  }
  /// Calls `on_value()` for each value, which takes it.
  template <typename OnValue>
  void array(const OnValue& on_value) {
    expect('[');
    const Level level(*this);
    if (take(']')) return;
    do on_value();
    while (take(','));
    expect(']');
  }
  /// Without its quotes; lives until the next call.
  [[nodiscard]] std::string_view string();
  [[nodiscard]] double number();
  /// Does the next value begin so?
  [[nodiscard]] bool next_is(char c);
  /// Any value.
  void skip();
  /// Nothing else follows.
  void end();
  [[noreturn]] void fail(std::string_view why) const;

 private:
  static constexpr int kMostLevels = 64;
  /// Of what stands within what.
  class Level {
   public:
    explicit Level(JsonScanner& scanner) : scanner_(scanner) {
      if (++scanner.level_ > kMostLevels) scanner.fail("it is nested too deeply");
    }
    ~Level() { --scanner_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    JsonScanner& scanner_;
  };

  void skip_space();
  [[nodiscard]] bool take(char c);
  void expect(char c);
  [[nodiscard]] std::string_view unescaped(std::size_t end);
  [[nodiscard]] unsigned hex4();

  const std::string_view text_;
  const std::string_view what_;
  std::size_t at_ = 0;
  int level_ = 0;
  std::string scratch_;
};

}  // namespace virga
