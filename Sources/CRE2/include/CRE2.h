#pragma once
#include <stddef.h>

// RE2's regular expressions for C: linear time in the text, bounded memory in the pattern, UTF-8, nothing logged.
#ifdef __cplusplus
extern "C" {
#endif

/// A compiled expression.
typedef struct swsign_re2 swsign_re2;

/// Compiles an expression. On failure gives NULL and writes why, with a closing NUL, to `error`.
swsign_re2 *_Nullable swsign_re2_compile(
    const char *_Nonnull pattern, size_t pattern_length, char *_Nonnull error, size_t error_capacity);

/// Whether the expression matches anywhere in the text: 1, or 0.
int swsign_re2_search(const swsign_re2 *_Nonnull expression, const char *_Nonnull text, size_t text_length);

void swsign_re2_free(swsign_re2 *_Nonnull expression);

#ifdef __cplusplus
}
#endif
