//! A web server.

#![no_std]
#![no_main]

use wakeful::{
    http::{self, Router, routing::get},
    net::Error,
};

#[wakeful::main]
async fn main() -> Result<(), Error> {
    let app = Router::new()
        .route("/", get(|| async { "Hello" }))
        .route("/plaintext", get(|| async { "Hello, World!" }));
    http::serve(80, app).await
}
