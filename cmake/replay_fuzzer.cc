// Drives a fuzz target without libFuzzer: every file of the given folders, then a fixed number of seeded mutations of
// them, so that each test run exercises each parser with damaged input under any compiler and sanitizer.
//   program [folder]...      VIRGA_FUZZ_MUTATIONS overrides the number of mutations (default 2000).
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

Input read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void mutate(Input& input, const std::vector<Input>& seeds, std::mt19937_64& random) {
  const auto below = [&](std::size_t bound) { return bound == 0 ? 0 : static_cast<std::size_t>(random() % bound); };
  const auto at = [&](std::size_t i) { return input.begin() + static_cast<std::ptrdiff_t>(i); };
  for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
    switch (below(6)) {
      case 0:  // flip a bit
        if (!input.empty()) input[below(input.size())] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:  // set a byte
        if (!input.empty()) input[below(input.size())] = static_cast<std::uint8_t>(random());
        break;
      case 2:  // cut the end off
        input.resize(below(input.size() + 1));
        break;
      case 3: {  // remove a piece
        const auto begin = below(input.size() + 1);
        const auto end = std::min(input.size(), begin + below(16));
        input.erase(at(begin), at(end));
        break;
      }
      case 4:  // insert bytes that mean something in many formats
        for (const std::uint8_t byte : std::initializer_list<std::uint8_t>{0xFF, 0x0A, 0x00, 0x3A, 0x7F}) {
          if (below(2) == 0) input.insert(at(below(input.size() + 1)), byte);
        }
        break;
      default: {  // splice in a piece of another seed
        const auto& other = seeds[below(seeds.size())];
        const auto begin = below(other.size() + 1);
        const auto count = std::min(other.size() - begin, below(64));
        input.insert(at(below(input.size() + 1)), other.begin() + static_cast<std::ptrdiff_t>(begin),
                     other.begin() + static_cast<std::ptrdiff_t>(begin + count));
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Input> seeds = {{}};
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) continue;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) seeds.push_back(read(file));
  }
  for (const auto& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());
  const char* wanted = std::getenv("VIRGA_FUZZ_MUTATIONS");
  const long mutations = wanted != nullptr ? std::strtol(wanted, nullptr, 10) : 2000;
  std::mt19937_64 random(1);
  for (long i = 0; i < mutations; ++i) {
    auto input = seeds[static_cast<std::size_t>(random() % seeds.size())];
    mutate(input, seeds, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu seeds and %ld mutations, no finding\n", seeds.size(), mutations);
}
