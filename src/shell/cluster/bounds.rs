//! How much a cluster may answer. Whoever rules a vCluster can make its API answer with anything, for as long as they like: each
//! answer has a bound, which depends on what was asked, and of an answer without end each line has one. What is above ends the
//! answer with an error that says so. It is what comes out of a compressed answer that counts.

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// JSON values of an object, of a page of several, and of an event: the largest of Kubernetes itself, an `EndpointSlice` of a
/// thousand pods, has a quarter. A value of one byte of text takes hundreds of bytes of memory once it is read.
const VALUES: usize = 1 << 16;

/// An object, and an event about one. etcd takes 1.5 MiB, of which each byte may be written with six.
const OBJECT: usize = 10 * MIB;
/// A page of several objects: with more it is asked for in smaller ones.
const PAGE: usize = 4 * MIB;
/// What the metrics API says of the pods of a Stack.
const MEASURED: usize = MIB;
/// Why something was refused.
const REFUSAL: usize = MIB;
/// A log without a bound of its own.
const LOG: usize = 16 * MIB;
/// What is refused in place of a log that has one.
const INSTEAD: usize = 64 * KIB;
/// A line of a log.
const LOG_LINE: usize = MIB;
/// After a longer event a watch goes on by another request: whoever reads keeps the room that the longest has taken.
const LONG: usize = MIB;
/// What a connection for a program in a container may bring: of what such a program prints a few KiB are read, and what comes by
/// `WebSocket` is put together before that.
const PRINTED: usize = 256 * KIB;
/// How long an answer may take that has an end.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was answered is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// No object and no answer of Kubernetes itself is that long.
    #[error(
        "an answer has more than {} KiB, which none of Kubernetes itself has; look at what answers there: kubectl get apiservices",
        .0 / KIB
    )]
    Answer(usize),
    /// No object of Kubernetes itself is made of that many values.
    #[error("an object has more than {VALUES} values, and is not read; make it smaller or delete it")]
    Values,
    /// A page of a list.
    #[error("{} objects together have more than {} MiB or {VALUES} values; make them smaller", .0, PAGE / MIB)]
    Page(usize),
    /// It does not end.
    #[error(
        "an answer takes longer than {} s; look at what answers there: kubectl get apiservices",
        PATIENCE.as_secs()
    )]
    Slow,
}

impl Excess {
    /// Whether that is what went wrong.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        cause(error)
    }

    /// Whether it is by what somebody has written into the cluster, and not by the cluster itself.
    pub fn is_by_an_object(self) -> bool {
        matches!(self, Self::Answer(_) | Self::Values)
    }
}

/// The error of one of our own layers that a request has failed with, however it is wrapped by now.
pub fn cause<E: Error + Copy + 'static>(error: &(dyn Error + 'static)) -> Option<E> {
    let mut error = Some(error);
    while let Some(at) = error {
        if let Some(found) = at.downcast_ref() {
            return Some(*found);
        }
        // what such an error is made of is not its source
        let within = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        error = within.map(|within| within as &(dyn Error + 'static)).or_else(|| at.source());
    }
    None
}

/// What an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// So many bytes of JSON.
    Whole(usize),
    /// So many bytes of text.
    Text(usize),
    /// Objects that are asked for together, and so many bytes.
    Page(usize),
    /// Events without end.
    Events,
    /// Lines without end.
    Lines,
}

impl Bound {
    /// What may be answered to a request. Format: Kubernetes API.
    fn of(uri: &Uri) -> Self {
        let path: Vec<_> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let number = |name: &str| parameter(uri, name).and_then(|text| text.parse().ok());
        match path.as_slice() {
            _ if is_watch(uri) => Self::Events,
            [.., "pods", _, "log"] if parameter(uri, "follow") == Some("true") => Self::Lines,
            [.., "pods", _, "log"] => {
                Self::Text(number("limitBytes").map_or(LOG, |most: usize| most.min(LOG) + INSTEAD))
            }
            ["apis", "metrics.k8s.io", ..] => Self::Whole(MEASURED),
            _ => number("limit").filter(|objects| *objects > 1).map_or(Self::Whole(OBJECT), Self::Page),
        }
    }

    fn ends(self) -> bool {
        matches!(self, Self::Whole(_) | Self::Text(_) | Self::Page(_))
    }

    fn is_json(self) -> bool {
        !matches!(self, Self::Text(_) | Self::Lines)
    }
}

/// Format: Kubernetes API, parameter `watch` of lists.
pub fn is_watch(uri: &Uri) -> bool {
    parameter(uri, "watch") == Some("true")
}

/// A program in a container is run.
pub fn is_exec(uri: &Uri) -> bool {
    uri.path().ends_with("/exec") && uri.path().contains("/pods/")
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Bounds what comes through it. It belongs above what decompresses.
#[derive(Clone, Copy)]
pub struct Bounds;

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner }
    }
}

/// What answers within bounds.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Bounded<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Within<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let bound = Bound::of(request.uri());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let refused = answer.status().is_client_error() || answer.status().is_server_error();
            let bound = if refused { Bound::Whole(REFUSAL) } else { bound };
            Ok(answer.map(|body| Within::new(body, bound)))
        })
    }
}

/// What JSON has come to so far, whatever the pieces are that it comes in.
#[derive(Default)]
struct Count {
    values: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Count {
    /// Format: RFC 8259: what begins a container, and what stands between two values.
    fn take(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_text,
                b'"' => self.in_text = !self.in_text,
                b',' | b'[' | b'{' if !self.in_text => self.values += 1,
                _ => {}
            }
        }
    }
}

/// The body of an answer, which ends at its bound.
pub struct Within<B> {
    body: Pin<Box<B>>,
    bound: Bound,
    /// Bytes of the whole, or of the line that has begun.
    bytes: usize,
    /// … and its values.
    count: Count,
    ended: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl<B> Within<B> {
    fn new(body: B, bound: Bound) -> Self {
        let until = bound.ends().then(|| Box::pin(tokio::time::sleep(PATIENCE)));
        Self { body: Box::pin(body), bound, bytes: 0, count: Count::default(), ended: false, until }
    }

    /// What of a piece is handed on.
    fn take(&mut self, mut piece: Bytes) -> Result<Bytes, Excess> {
        let most = match self.bound {
            Bound::Whole(most) | Bound::Text(most) => most,
            Bound::Page(_) => PAGE,
            Bound::Events => OBJECT,
            Bound::Lines => LOG_LINE,
        };
        let excess = |excess| match self.bound {
            Bound::Page(objects) => Excess::Page(objects),
            _ => excess,
        };
        let lines = if self.bound.ends() { 1 } else { usize::MAX };
        let mut taken = 0;
        for line in piece.splitn(lines, |byte| *byte == b'\n') {
            // it goes on in the next piece, unless another line follows
            let is_complete = taken + line.len() < piece.len();
            taken += line.len() + usize::from(is_complete);
            self.bytes += line.len();
            if self.bytes > most {
                self.ended = true;
                return Err(excess(Excess::Answer(most)));
            }
            if self.bound.is_json() {
                self.count.take(line);
            }
            if self.count.values > VALUES {
                self.ended = true;
                return Err(excess(Excess::Values));
            }
            if is_complete {
                if self.bound == Bound::Events && self.bytes > LONG {
                    self.ended = true;
                    piece.truncate(taken);
                    break;
                }
                (self.bytes, self.count) = (0, Count::default());
            }
        }
        Ok(piece)
    }
}

impl<B> Body for Within<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
            this.ended = true;
            return Poll::Ready(Some(Err(Excess::Slow.into())));
        }
        let Some(frame) = ready!(this.body.as_mut().poll_frame(context)) else { return Poll::Ready(None) };
        Poll::Ready(Some(match frame.map(Frame::into_data) {
            Ok(Ok(piece)) => this.take(piece).map(Frame::data).map_err(Into::into),
            Ok(Err(rest)) => Ok(rest),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that brings so much and then fails.
pub struct Brief<T> {
    connection: T,
    left: usize,
}

impl<T> Brief<T> {
    /// For a program in a container.
    pub fn new(connection: T) -> Self {
        Self { connection, left: PRINTED }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Brief<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(context, into))?;
        let Some(left) = self.left.checked_sub(into.filled().len() - before) else {
            into.set_filled(before);
            return Poll::Ready(Err(io::Error::other(Excess::Answer(PRINTED))));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Brief<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl<T: Connection> Connection for Brief<T> {
    fn connected(&self) -> Connected {
        self.connection.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Request;
    use kube::core::params::{GetParams, ListParams, WatchParams};
    use kube::core::subresource::LogParams;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn what_is_asked_says_how_much_may_be_answered() {
        let pods = Request::new("/api/v1/namespaces/shop/pods");
        let bound = |request: http::Request<Vec<u8>>| Bound::of(request.uri());
        assert_eq!(bound(pods.watch(&WatchParams::default().labels("a=watch"), "1").unwrap()), Bound::Events);
        assert_eq!(bound(pods.list(&ListParams::default().labels("watch=true")).unwrap()), Bound::Whole(OBJECT));
        assert_eq!(bound(pods.list(&ListParams::default().limit(7)).unwrap()), Bound::Page(7));
        assert_eq!(bound(pods.list(&ListParams::default().limit(1)).unwrap()), Bound::Whole(OBJECT));
        assert_eq!(bound(pods.logs("a", &LogParams::default()).unwrap()), Bound::Text(LOG));
        let followed = LogParams { follow: true, ..LogParams::default() };
        assert_eq!(bound(pods.logs("a", &followed).unwrap()), Bound::Lines);
        let map = Request::new("/api/v1/namespaces/shop/configmaps").get("log", &GetParams::default());
        assert_eq!(bound(map.unwrap()), Bound::Whole(OBJECT), "an object of that name is no log");
    }

    #[tokio::test]
    async fn what_takes_much_more_room_than_its_text_is_not_read() {
        let mut event = Within::new(waits(), Bound::Events);
        let many = format!("{{\"x\":[{}0]", "0,".repeat(VALUES - 10));
        let commas = format!(",\"y\":\"\\\",[{{{}\"", ",".repeat(VALUES));
        for line in [&*many, &*commas, "}\n", &*many, "}\n"] {
            // in a text they are no values, and each event has its own
            assert_eq!(event.take(Bytes::copy_from_slice(line.as_bytes())).map(|piece| piece.len()), Ok(line.len()));
        }
        for odd in ["[0],", "{},", "[[]],"] {
            let much = Bytes::from(odd.repeat(VALUES / 2 + 1));
            let (first, second) = (much.slice(..much.len() / 2), much.slice(much.len() / 2..));
            for (bound, excess) in [
                (Bound::Events, Excess::Values),
                (Bound::Whole(OBJECT), Excess::Values),
                (Bound::Page(50), Excess::Page(50)),
            ] {
                let mut within = Within::new(waits(), bound);
                assert_eq!(within.take(first.clone()).and_then(|_| within.take(second.clone())), Err(excess), "{odd}");
            }
            let mut log = Within::new(waits(), Bound::Text(LOG));
            assert!(log.take(much).is_ok());
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_in_time_ends() {
        let body = waits();
        let until = Some(Box::pin(tokio::time::sleep(Duration::from_millis(10))));
        let mut within = Within { until, ..Within::new(body, Bound::Whole(10)) };
        let frame = std::future::poll_fn(|context| Pin::new(&mut within).poll_frame(context)).await;
        assert_eq!(frame.unwrap().err().and_then(|error| Excess::of(&*error)), Some(Excess::Slow));
        assert!(within.is_end_stream());
    }

    fn waits() -> axum::body::Body {
        axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>())
    }

    #[tokio::test]
    async fn a_program_prints_only_so_much() {
        let (mut program, connection) = tokio::io::duplex(1 << 10);
        let prints = tokio::spawn(async move { while program.write_all(&[b'x'; 1 << 10]).await.is_ok() {} });
        let mut read = vec![];
        let error = Brief::new(connection).read_to_end(&mut read).await.unwrap_err();
        assert!(error.to_string().starts_with("an answer has more than 256 KiB") && read.len() <= PRINTED);
        prints.await.unwrap();
    }
}
