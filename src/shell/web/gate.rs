//! Who gets in: a limited number of connections, each with limited patience. Where there is no more room, whoever has most of it
//! gives up the connection that has been quiet for longest, so that nobody who only holds connections keeps others out.

use crate::shell::web::tls::Stream;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;

/// A connection is closed when nothing was sent to it for this long: for one request …
const REQUEST: Duration = Duration::from_secs(30);
/// … and for the next one on the same connection.
const NEXT: Duration = Duration::from_mins(1);

/// Lets connections in.
pub struct Gate {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    room: Arc<Mutex<Room>>,
}

impl Gate {
    /// Room for so many connections, which come by TLS if there is one.
    pub fn new(listener: TcpListener, most: usize, tls: Option<TlsAcceptor>) -> Self {
        Self { listener, tls, room: Arc::new(Mutex::new(Room { most, next: 0, all: BTreeMap::new() })) }
    }
}

/// Who is at the other end of a connection; a proxy, where one is between.
#[derive(Clone, Copy)]
pub struct Peer(SocketAddr);

impl Peer {
    /// The address, without the port.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl Connected<IncomingStream<'_, Gate>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The connections there are.
struct Room {
    most: usize,
    next: u64,
    all: BTreeMap<u64, Held>,
}

struct Held {
    peer: IpAddr,
    /// When something was last sent to it, or when it came.
    since: Instant,
    /// Ends it when dropped.
    _end: oneshot::Sender<()>,
}

impl Room {
    /// Lets one in, and another one go if there is no room.
    fn enter(&mut self, peer: IpAddr, now: Instant) -> (u64, oneshot::Receiver<()>) {
        if self.all.len() >= self.most {
            let mut of_peer: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for held in self.all.values() {
                *of_peer.entry(held.peer).or_default() += 1;
            }
            let most = of_peer.values().copied().max();
            let of_largest = self.all.iter().filter(|(_, held)| of_peer.get(&held.peer).copied() == most);
            if let Some(id) = of_largest.min_by_key(|(_, held)| held.since).map(|(id, _)| *id) {
                self.all.remove(&id);
            }
        }
        let (end, ended) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        self.all.insert(id, Held { peer, since: now, _end: end });
        (id, ended)
    }
}

impl Listener for Gate {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // axum's own loop outlives errors such as too many open files
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let (id, ended) = lock(&self.room).enter(address.ip(), Instant::now());
        let (room, stream) = (Arc::clone(&self.room), Stream::new(stream, self.tls.as_ref()));
        (Connection { stream, patience: Box::pin(sleep(REQUEST)), ended, id, room }, address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn lock(room: &Mutex<Room>) -> std::sync::MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that ends by itself: neither a client that sends a byte now and then nor one that reads nothing can
/// keep it.
pub struct Connection {
    stream: Stream,
    patience: Pin<Box<Sleep>>,
    ended: oneshot::Receiver<()>,
    id: u64,
    room: Arc<Mutex<Room>>,
}

impl Connection {
    /// `waiting`, or an error if patience ended or the room is needed.
    fn or_end<T>(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<T>> {
        if Pin::new(&mut self.ended).poll(context).is_pending() {
            ready!(self.patience.as_mut().poll(context));
        }
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.room).all.remove(&self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.patience.is_elapsed() {
            return Poll::Ready(Err(Error::from(ErrorKind::TimedOut)));
        }
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Pending => self.or_end(context),
            done @ Poll::Ready(_) => done,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.or_end(context),
            done @ Poll::Ready(_) => {
                let now = Instant::now();
                self.patience.as_mut().reset(now + NEXT);
                if let Some(held) = lock(&self.room).all.get_mut(&self.id) {
                    held.since = now;
                }
                done
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_most_gives_way() {
        let mut room = Room { most: 4, next: 0, all: BTreeMap::new() };
        let (busy, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        let mut first = room.enter(other, now).1;
        let mut many: Vec<_> = (1..4).map(|after| room.enter(busy, now + Duration::from_secs(after)).1).collect();
        let _last = room.enter(other, now + Duration::from_secs(9));
        assert!(first.try_recv() == Err(oneshot::error::TryRecvError::Empty), "the quietest of all has few");
        assert!(many.remove(0).try_recv() == Err(oneshot::error::TryRecvError::Closed), "the quietest of many");
        assert_eq!(room.all.len(), 4);
    }
}
