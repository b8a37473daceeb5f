/* SHA-256 (FIPS 180-4). */
#ifndef SHA256_H
#define SHA256_H

#include "text.h"

/* The digest in 64 lower-case hexadecimal digits, in scratch memory. */
text_t sha256_hex(text_t message);

#endif
