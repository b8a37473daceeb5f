/// <reference path="./interfaces/portcullis-policy-authentication.d.ts" />
/// <reference path="./interfaces/portcullis-policy-clock.d.ts" />
/// <reference path="./interfaces/portcullis-policy-config.d.ts" />
/// <reference path="./interfaces/portcullis-policy-descriptor.d.ts" />
/// <reference path="./interfaces/portcullis-policy-http-client.d.ts" />
/// <reference path="./interfaces/portcullis-policy-log.d.ts" />
/// <reference path="./interfaces/portcullis-policy-store.d.ts" />
/// <reference path="./interfaces/portcullis-policy-types.d.ts" />
declare module 'plant:badge/badge' {
  export type * as PortcullisPolicyClock010 from 'portcullis:policy/clock@0.1.0'; // import portcullis:policy/clock@0.1.0
  export type * as PortcullisPolicyConfig010 from 'portcullis:policy/config@0.1.0'; // import portcullis:policy/config@0.1.0
  export type * as PortcullisPolicyHttpClient010 from 'portcullis:policy/http-client@0.1.0'; // import portcullis:policy/http-client@0.1.0
  export type * as PortcullisPolicyLog010 from 'portcullis:policy/log@0.1.0'; // import portcullis:policy/log@0.1.0
  export type * as PortcullisPolicyStore010 from 'portcullis:policy/store@0.1.0'; // import portcullis:policy/store@0.1.0
  export type * as PortcullisPolicyTypes010 from 'portcullis:policy/types@0.1.0'; // import portcullis:policy/types@0.1.0
  export * as descriptor from 'portcullis:policy/descriptor@0.1.0'; // export portcullis:policy/descriptor@0.1.0
  export * as authentication from 'portcullis:policy/authentication@0.1.0'; // export portcullis:policy/authentication@0.1.0
}
