//! Starts a viewer with a store in memory, to be tried by hand:
//! `cargo run -p tracer-viewer --example view [-- ADDRESS:PORT [TOKEN [PATH_PREFIX [OTLP_HTTP_ADDRESS:PORT]]]]`, then
//! send OTLP to 127.0.0.1:4318 or :4317, or only to the address that is named.

use std::{error::Error, io, sync::Arc};

use tracer_store::{Limits, Store};
use tracer_viewer::{Settings, Token, Viewer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::default();
    let mut arguments = std::env::args().skip(1);
    if let Some(address) = arguments.next() {
        settings.listen = address.parse()?;
    }
    if let Some(token) = arguments.next().filter(|token| !token.is_empty()) {
        settings.token = Some(Token::new(&token)?);
    }
    settings.path_prefix = arguments.next().unwrap_or_default();
    if let Some(address) = arguments.next() {
        settings.otlp_http = Some(address.parse()?);
        settings.otlp_grpc = None;
    }
    let store = Arc::new(Store::in_memory(Limits::default()));
    let viewer = Viewer::start(settings, store, None)?;
    println!("{}", viewer.addresses().url);
    println!("Enter ends it");
    io::stdin().read_line(&mut String::new())?;
    viewer.stop();
    Ok(())
}
