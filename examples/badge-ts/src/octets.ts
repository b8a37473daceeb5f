// Octets and text, which QuickJS has no TextDecoder for.

// In `lib` these belong to the browser; they are ECMAScript's (annex B).
declare function unescape(text: string): string;

export const ascii = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

export const hex = (octets: Uint8Array): string =>
  Array.from(octets, (octet) => octet.toString(16).padStart(2, '0')).join('');

/** UTF-8 to a string. Throws where it is none. */
export const fromUtf8 = (octets: Uint8Array): string =>
  decodeURIComponent(Array.from(octets, (octet) => (octet < 0x80 && octet !== 0x25
    ? String.fromCharCode(octet)
    : `%${octet.toString(16).padStart(2, '0')}`)).join(''));

/** A string to UTF-8. */
export const toUtf8 = (text: string): Uint8Array => ascii(unescape(encodeURIComponent(text)));
