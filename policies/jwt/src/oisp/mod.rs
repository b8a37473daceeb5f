//! The Open IoT Service Platform's own interface: tokens that the gateway itself signs for people and devices, the routes
//! below `/v1/api` that give them out, and their use as credentials.
//!
//! | file | owns |
//! | --- | --- |
//! | `config` | the table `oisp` of the configuration |
//! | `token` | what such a token says; making and checking one |
//! | `api` | the routes |
//! | `answer` | the bodies of its errors |
//! | `login` | a login with such a token, and its grant |

mod answer;
pub mod api;
pub mod config;
pub(crate) mod login;
pub(crate) mod token;
