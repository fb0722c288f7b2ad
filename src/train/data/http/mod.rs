//! Downloads over HTTP: asked for with patience, resumed where a connection was cut, and checked
//! against a digest. Knows URLs and bytes; does not know what the hub is.

// What a file must hash to, and how patient to be.
pub mod digest;
pub mod limits;

// Addresses, and who is at home there.
#[cfg(feature = "hub")]
pub mod url;

// One exchange with a server; the only file that names the library that does it.
#[cfg(feature = "hub")]
pub mod wire;

// Redirects, refusals, new tries.
#[cfg(feature = "hub")]
pub mod client;

// A body into a file.
#[cfg(feature = "hub")]
pub mod download;
#[cfg(not(feature = "hub"))]
#[path = "absent.rs"]
pub mod download;
