#include "CRE2.h"

#include <cstring>
#include <new>
#include <re2/re2.h>

struct swsign_re2 {
    explicit swsign_re2(const re2::StringPiece &pattern, const RE2::Options &options) : expression(pattern, options) {}
    RE2 expression;
};

// What is thrown, for want of memory alone, is caught for programs that import the library and for debug builds. The release program
// has no tables of exceptions (Makefile): it ends.
swsign_re2 *swsign_re2_compile(const char *pattern, size_t pattern_length, char *error, size_t error_capacity) {
    try {
        RE2::Options options;
        options.set_log_errors(false);
        options.set_encoding(RE2::Options::EncodingUTF8);
        options.set_max_mem(8 << 20);
        swsign_re2 *compiled = new swsign_re2(re2::StringPiece(pattern, pattern_length), options);
        if (compiled->expression.ok()) return compiled;
        if (error_capacity > 0) {
            std::strncpy(error, compiled->expression.error().c_str(), error_capacity - 1);
            error[error_capacity - 1] = 0;
        }
        delete compiled;
    } catch (...) {
        if (error_capacity > 0) error[0] = 0;
    }
    return nullptr;
}

int swsign_re2_search(const swsign_re2 *expression, const char *text, size_t text_length) {
    try {
        return RE2::PartialMatch(re2::StringPiece(text, text_length), expression->expression) ? 1 : 0;
    } catch (...) {
        return 0;
    }
}

void swsign_re2_free(swsign_re2 *expression) { delete expression; }
