// The floor under reading JSON numbers: std::from_chars over a text that is trusted to be an array
// of numbers, however deeply nested. It checks nothing else; a server must check more.
#include <charconv>
#include <cstddef>

extern "C" long read_floats(const char *text, std::size_t length, float *numbers, std::size_t room) {
    const char *end = text + length;
    std::size_t count = 0;
    while (text != end) {
        if (*text != '-' && (*text < '0' || *text > '9')) {
            ++text;
            continue;
        }
        if (count == room) return -1;
        auto [after, error] = std::from_chars(text, end, numbers[count]);
        if (error != std::errc()) return -1;
        text = after;
        ++count;
    }
    return static_cast<long>(count);
}
