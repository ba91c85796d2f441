//! rust-mqtt as it is on crates.io: subscribes to a topic, publishes there, and hears its own message.
//!
//! Its argument is the broker: `10.0.2.2:1883`, or a name with a port.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String};

use rust_mqtt::{
    buffer::AllocBuffer,
    client::{
        Client, MqttError,
        event::Event,
        options::{
            ConnectOptions, DisconnectOptions, PublicationOptions, SubscriptionOptions,
            TopicReference,
        },
    },
    types::{MqttString, TopicFilter, TopicName},
};
use wakeful::{
    net::{self, TcpStream},
    println,
    time::{self, Duration},
};

#[wakeful::main]
async fn main() -> Result<(), String> {
    let broker = wakeful::arguments().next().unwrap_or("10.0.2.2:1883");
    let explain = |error: net::Error| format!("{broker}: {error}");
    net::configured().await.map_err(explain)?;
    let address = net::to_address(broker).await.map_err(explain)?;
    let stream = TcpStream::connect(address).await.map_err(explain)?;
    let mut buffer = AllocBuffer;
    match time::timeout(Duration::from_secs(10), talk(stream, &mut buffer)).await {
        Ok(done) => done.map_err(|error| format!("{broker}: {error:?}")),
        Err(_) => Err(format!("{broker}: not done within 10 seconds")),
    }
}

async fn talk(stream: TcpStream, buffer: &mut AllocBuffer) -> Result<(), MqttError<'_, 0>> {
    let mut client = Client::<'_, '_, _, _, 1, 1, 1, 1, 0, 0, 0>::new(buffer);
    let name = MqttString::from_str("wakeful").expect("short");
    client.connect(stream, &ConnectOptions::new().clean_start(), Some(name)).await?;
    println!("connected");

    let topic = MqttString::from_str("wakeful/hello").expect("short");
    let filter = TopicFilter::new(topic.as_borrowed()).expect("a filter");
    client.subscribe(filter, &SubscriptionOptions::new().at_least_once()).await?;

    let topic = TopicReference::Name(TopicName::new(topic).expect("a topic"));
    let (mut acknowledged, mut received) = (false, false);
    while !(acknowledged && received) {
        match client.poll().await? {
            Event::Suback(answer) => {
                println!("subscribed: {:?}", answer.reason_code);
                let options = PublicationOptions::new(topic.as_borrowed()).at_least_once();
                client.publish(&options, "from a unikernel".into()).await?;
            }
            Event::PublishAcknowledged(_) => acknowledged = true,
            Event::Publish(message) => {
                println!("received: {:?}", str::from_utf8(&message.message).unwrap_or_default());
                received = true;
            }
            _ => {}
        }
    }
    client.disconnect(&DisconnectOptions::new()).await?;
    println!("disconnected");
    Ok(())
}
