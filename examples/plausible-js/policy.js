// A filter: it looks at messages before they are published, and not at clients. What thermometers send becomes one form, what none can
// have measured goes no further.

import { get } from 'portcullis:policy/config@0.1.0';
import { write } from 'portcullis:policy/log@0.1.0';

// Read once for each instance. Absolute zero, and a number that no room reaches.
const bound = (key, otherwise) => Number(get(key) ?? otherwise);
let range;

export const messageFilter = {
  filter(publisher, message) {
    try {
      range ??= [bound('least', -273.15), bound('most', 1000)];
      return decide(publisher, message);
    } catch (error) {
      // A trap says nothing; the gateway shows what was logged last.
      write('error', `${error} ${error?.stack ?? ''}`);
      throw error;
    }
  },
};

function decide({ identity }, { topic, payload }) {
  // Retained messages are deleted by an empty one.
  if (payload.length === 0) return { tag: 'pass' };
  const text = ascii(payload);
  let reading;
  try {
    reading = JSON.parse(text);
  } catch {
    return refuse(`${identity.subject} sends what is no JSON to ${topic}`);
  }
  // A bare number is in degrees Celsius already.
  const { celsius, fahrenheit, test } = typeof reading === 'number' ? { celsius: reading } : (reading ?? {});
  // Who tests the wire is told that it works, and nobody hears of it.
  if (test === true) return { tag: 'drop' };
  const degrees = celsius ?? (fahrenheit - 32) / 1.8;
  if (typeof degrees !== 'number' || Number.isNaN(degrees)) return refuse(`no temperature from ${identity.subject} in ${topic}`);
  const [least, most] = range;
  if (degrees < least || degrees > most) {
    return refuse(`${degrees.toFixed(1)} °C from ${identity.subject}: not from ${least} to ${most}`);
  }
  const tidy = JSON.stringify({ celsius: Number(degrees.toFixed(2)) });
  if (tidy === text) return { tag: 'pass' };
  return { tag: 'replace', val: { payload: octets(tidy), contentType: 'application/json' } };
}

const refuse = (detail) => ({ tag: 'refuse', val: { reason: 'payload-format-invalid', detail } });

// QuickJS has no TextDecoder. What is not ASCII becomes no JSON that means a temperature.
const ascii = (octets) => String.fromCharCode(...octets.subarray(0, 1024));
const octets = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
