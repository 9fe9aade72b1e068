//! Connections: where they come in, how many there may be, and how they end.
//!
//! HTTP is hyper's, TLS is rustls'. Every registry client speaks HTTP/1.1, so nothing else is spoken.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher as Connections};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

use super::ask::{Guard, Hall};
use super::dispatch;
use super::metrics::Metrics;
use super::mirror::Mirror;
use super::namespace::Namespace;
use super::route::Route;
use super::settings::Settings;
use super::tls::Certificate;
use super::upstream::Upstream;
use super::visit::{Told, Visit, Watcher};

/// How much of a request's head, or of an answer, is kept in memory for a connection.
const BUFFER: usize = 64 << 10;

/// A registry, ready to serve.
pub struct Server {
    hall: Arc<Hall>,
    certificate: Option<Arc<Certificate>>,
    watcher: Watcher,
}

impl Server {
    /// A registry of a namespace, for everybody unless `guard` says for whom. What the namespace lacks comes from `upstream`, if there
    /// is one. With a certificate it speaks TLS. `watcher` is told of each request.
    #[must_use]
    pub fn new(
        namespace: Namespace,
        settings: Settings,
        guard: Guard,
        upstream: Option<Upstream>,
        certificate: Option<Arc<Certificate>>,
        watcher: Watcher,
    ) -> Self {
        let is_encrypted = certificate.is_some();
        let mirror = upstream.map(|upstream| Mirror::new(upstream, settings.trust));
        let metrics = Metrics::default();
        let hall = Arc::new(Hall { namespace, settings, guard, mirror, is_encrypted, metrics });
        Self { hall, certificate, watcher }
    }

    /// Serves until `stop` is ready; then nothing new is begun, and what is in progress may end within the grace of the settings.
    ///
    /// # Errors
    /// The error of a listener that can accept nothing any more.
    pub async fn serve(self, listeners: Vec<TcpListener>, stop: impl Future<Output = ()>) -> io::Result<()> {
        let server = Arc::new(self);
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(server.hall.settings.max_connections));
        let rounds = tokio::spawn(sweep(Arc::clone(&server)));
        let accepting = listeners.into_iter().map(|listener| {
            let (server, slots) = (Arc::clone(&server), Arc::clone(&slots));
            let graceful = &graceful;
            Box::pin(async move { server.accept(listener, slots, graceful).await })
        });
        let ended = match select(pin!(stop), futures_util::future::select_all(accepting)).await {
            Either::Left(((), _)) => Ok(()),
            Either::Right(((error, ..), _)) => Err(error),
        };
        rounds.abort();
        let grace = server.hall.settings.grace;
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in progress after {} s", grace.as_secs_f64());
        }
        ended
    }

    /// Accepts connections until that is not possible any more, and returns why.
    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        slots: Arc<Semaphore>,
        graceful: &GracefulShutdown,
    ) -> io::Error {
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(server.greet(stream, peer.ip(), slot, graceful.watcher()));
                }
                // A client that hung up, or no descriptor left for now.
                Err(error) if is_fleeting(&error) => {
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return error,
            }
        }
    }

    /// Takes a connection through its handshake, if it has one.
    async fn greet(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        slot: OwnedSemaphorePermit,
        connections: Connections,
    ) {
        // Answers are written whole, so there is nothing to be gained by waiting for more; where it fails, all is only slower.
        let _ = stream.set_nodelay(true);
        let timeout = self.hall.settings.timeout;
        let hall = Arc::clone(&self.hall);
        hall.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = TimeoutStream::new(stream);
        // Reading has no limit here: a request whose blob is being written to a slow disk is silent too.
        stream.set_write_timeout(Some(timeout));
        let stream = Box::pin(stream);
        match self.certificate.as_ref().map(|certificate| certificate.acceptor()) {
            None => self.converse(stream, peer, connections).await,
            Some(tls) => match tokio::time::timeout(timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(stream, peer, connections).await,
                Ok(Err(error)) => tracing::info!("{peer}: TLS: {error}"),
                Err(_) => tracing::info!("{peer}: TLS: no handshake"),
            },
        }
        hall.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        drop(slot);
    }

    async fn converse<S>(self: Arc<Self>, stream: S, peer: IpAddr, connections: Connections)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let timeout = self.hall.settings.timeout;
        let service = service_fn(move |request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is the client's affair; it has seen so too.
        if let Err(error) = connections.watch(connection).await {
            tracing::info!("{peer}: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Told> {
        let since = Instant::now();
        let route = Route::of(request.uri().path());
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut visit = Visit {
            peer: Some(peer),
            user: None,
            method: request.method().to_string(),
            target: request.uri().to_string(),
            agent: request.headers().get(USER_AGENT).map(text),
            kind: route.as_ref().map_or("none", Route::kind),
            status: 0,
            sent: 0,
            is_whole: false,
            took: Duration::ZERO,
        };
        let answer = dispatch::answer(&self.hall, route, request, &mut visit.user).await;
        visit.status = answer.status().as_u16();
        let (hall, watcher) = (Arc::clone(&self.hall), Arc::clone(&self.watcher));
        let told = move |visit: &Visit| {
            hall.metrics.count(visit);
            watcher(visit);
        };
        answer.map(|content| Told::new(content, visit, since, Arc::new(told)))
    }
}

fn is_fleeting(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    use rustix::io::Errno;
    let fleeting = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::PROTO, Errno::PERM];
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory)
        || Errno::from_io_error(error).is_some_and(|error| fleeting.contains(&error))
}

/// Gives up, again and again, what nobody waits for any more, and looks for a new certificate.
async fn sweep(server: Arc<Server>) {
    let hall = &server.hall;
    loop {
        tokio::time::sleep(hall.namespace.round()).await;
        if let Some(mirror) = &hall.mirror {
            mirror.expire();
        }
        if let Some(certificate) = &server.certificate
            && let Err(error) = certificate.renew_if_changed()
        {
            tracing::warn!("{error}");
        }
        for store in hall.namespace.opened() {
            // The next round tries again.
            let _ = tokio::task::spawn_blocking(move || store.sweep()).await;
        }
    }
}
