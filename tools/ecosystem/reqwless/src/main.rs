//! reqwless as it is on crates.io: two requests on one connection, then one on a connection of its own.
//!
//! Its argument is the server's URL: one that echoes what is posted to `/echo`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String};

use reqwless::{
    client::HttpClient,
    request::{Method, RequestBuilder},
};
use wakeful::{
    net::{self, Network},
    println,
};

#[wakeful::main]
async fn main() -> Result<(), String> {
    let url = wakeful::arguments().next().unwrap_or("http://10.0.2.2:8000");
    net::configured().await.map_err(|error| format!("{error}"))?;
    talk(url).await.map_err(|error| format!("{url}: {error:?}"))
}

async fn talk(url: &str) -> Result<(), reqwless::Error> {
    let mut buffer = [0; 4096];
    let mut client = HttpClient::new(&Network, &Network);
    {
        let mut server = client.resource(url).await?;
        let response = server.get("/").send(&mut buffer).await?;
        let status = response.status;
        let body = response.body().read_to_end().await?;
        println!("GET: {status:?}, {} bytes", body.len());

        let request = server.post("/echo").body(b"from a unikernel".as_slice());
        let response = request.send(&mut buffer).await?;
        let status = response.status;
        let body = response.body().read_to_end().await?;
        println!("POST: {status:?}, {:?}", str::from_utf8(body).unwrap_or_default());
    }
    let url = format!("{url}/again");
    let mut request = client.request(Method::GET, &url).await?;
    let response = request.send(&mut buffer).await?;
    println!("GET again: {:?}", response.status);
    Ok(())
}
