//! A notebook on `PostgreSQL`, as small as an application can be that does what a cluster expects of one: it
//! answers probes, survives the loss of its database, and ends without dropping a request.

mod config;
mod dns;
mod notes;
mod page;
mod web;

use std::{error::Error, net::Ipv6Addr, process::ExitCode, sync::Arc, time::Duration};

use config::{Config, VERSION};
use notes::Notes;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use web::App;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hexabase-web: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let config = Config::from_env()?;
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let app = Arc::new(App { greeting: config.greeting, notes: Notes::new(config.database) });
    // From the start: the table is there before the first request asks for it, however late the database comes.
    let watched = Arc::clone(&app);
    tokio::spawn(async move { watched.notes.watch().await });

    let listener = bind(config.port).await?;
    println!("hexabase-web {VERSION}: listening on {}", listener.local_addr()?);
    axum::serve(listener, web::router(app)).with_graceful_shutdown(drained(terminate, interrupt, config.drain)).await?;
    println!("hexabase-web: done");
    Ok(())
}

/// Either family; a host without IPv6 offers only the other.
async fn bind(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}

/// Ends some seconds after the signal: until proxies have heard that this process goes away, they still send requests.
async fn drained(mut terminate: Signal, mut interrupt: Signal, drain: Duration) {
    tokio::select! {
        _ = terminate.recv() => {
            println!("hexabase-web: asked to end, serving for {} s more", drain.as_secs());
            sleep(drain).await;
        }
        _ = interrupt.recv() => {}
    }
}
