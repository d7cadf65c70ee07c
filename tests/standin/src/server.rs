//! Listening, serving, and ending when asked to.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use crate::{Fault, settings::Identity};

/// For requests in hand: a proxy may keep its connections open for as long as it likes.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// Turns true with the signal that asks this process to end.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    pub fn on_signal() -> io::Result<Self> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (asked, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            asked.send_replace(true);
        });
        Ok(Self(stop))
    }

    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    pub async fn wait(mut self) {
        // An error says that the other end is gone, and with it the runtime.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Either family; a host without IPv6 offers only the other.
pub async fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()).await {
        Ok(listener) => Ok(listener),
        Err(_) => listen((Ipv4Addr::UNSPECIFIED, port).into()).await,
    }
}

pub async fn serve(identity: &Identity, listener: TcpListener, router: Router) -> Result<(), Fault> {
    let stop = Stop::on_signal()?;
    println!("{} {}: listening on {}", identity.app, identity.version, listener.local_addr()?);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().wait()).into_future();
    tokio::select! {
        served = served => served?,
        () = async { stop.wait().await; sleep(LAST_REQUESTS).await } => {}
    }
    println!("{} {}: done", identity.app, identity.version);
    Ok(())
}
