//! Clients: `etcdctl`, and our own over TLS, which say whom they trust, who they
//! are and what they can speak.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Stage;
use crate::agent::block_on;
use crate::process::peer;

const PATIENCE: Duration = Duration::from_secs(10);

/// The older version of TLS alone.
pub(super) static OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
/// The newer version of TLS alone.
pub(super) static NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A client with TLS.
pub(super) struct Client {
    pub(super) certificate: Option<&'static str>,
    pub(super) trusts: &'static str,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    /// Suites of TLS 1.2 whose names end so.
    pub(super) suites: &'static str,
    pub(super) speaks: &'static [&'static str],
    pub(super) port: usize,
}

impl Default for Client {
    fn default() -> Client {
        Client {
            certificate: None,
            trusts: "ca.pem",
            versions: rustls::ALL_VERSIONS,
            suites: "",
            speaks: &[],
            port: 0,
        }
    }
}

/// A client that shows this certificate.
pub(super) fn with(certificate: &'static str) -> Client {
    Client { certificate: Some(certificate), ..Client::default() }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    fn config(&self, stage: &Stage) -> ClientConfig {
        let read = |file: &str| fs::read(stage.path(file)).unwrap();
        let chain = |file: &str| {
            let pem = read(file);
            CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap()
        };
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| {
            suite.tls13().is_some() || format!("{:?}", suite.suite()).ends_with(self.suites)
        });
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain(self.trusts));
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(name) => {
                let key = PrivateKeyDer::from_pem_slice(&read(&format!("{name}.key"))).unwrap();
                config.with_client_auth_cert(chain(&format!("{name}.pem")), key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Connects, as far as TLS goes; what a server says against it may come later.
    fn connect(&self, stage: &Stage) -> Result<Stream, String> {
        let config = Arc::new(self.config(stage));
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp(stage, self.port));
        while stream.conn.is_handshaking() {
            let done = stream.conn.complete_io(&mut stream.sock);
            done.map_err(|why| refusal(&why))?;
        }
        Ok(stream)
    }

    /// Asks over HTTP/1.1, and says what came of it, and how it was secured.
    pub(super) fn ask(&self, stage: &Stage, what: &str, body: &str) -> String {
        let asked = self.connect(stage).and_then(|mut stream| {
            let answer = exchange(&mut stream, what, body)?;
            let version = stream.conn.protocol_version().unwrap();
            let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
            let suite = if self.suites.is_empty() { String::new() } else { format!(" {suite:?}") };
            Ok(format!("{version:?}{suite} {answer}"))
        });
        asked.unwrap_or_else(|why| why)
    }

    /// What a client is told that is turned away, and waits to hear it.
    pub(super) fn hear(&self, stage: &Stage) -> String {
        let told = self.connect(stage).map(|mut stream| {
            let told = stream.read(&mut [0]);
            told.map_or_else(|why| refusal(&why), |count| format!("{count} bytes"))
        });
        told.unwrap_or_else(|why| why)
    }

    /// Asks over HTTP/2, with a content type.
    pub(super) fn ask_h2(&self, stage: &Stage, path: &str, kind: &str, body: &str) -> String {
        let mut config = self.config(stage);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tcp(stage, self.port);
        stream.set_nonblocking(true).unwrap();
        let request = http::Request::post(format!("https://localhost{path}"))
            .header("content-type", kind)
            .header("accept", "*/*")
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let secured =
                tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            let Ok(secured) = secured else { return "refused".to_owned() };
            assert_eq!(secured.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let io = TokioIo::new(secured);
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            let (parts, body) = answer.into_parts();
            let kind = parts.headers.get("content-type").map(|kind| kind.to_str().unwrap());
            let kind = kind.unwrap_or_default().to_owned();
            let body = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await.unwrap();
            let text = String::from_utf8_lossy(&body);
            format!("{} {kind} {}", parts.status, settled(&text))
        })
    }

    /// The serial number of the certificate that the server shows.
    pub(super) fn serial(&self, stage: &Stage) -> String {
        match self.connect(stage) {
            Ok(stream) => {
                let shown = stream.conn.peer_certificates().unwrap();
                X509Certificate::from_der(&shown[0]).unwrap().1.serial.to_string()
            }
            Err(why) => why,
        }
    }
}

/// A connection to one of the server's ports.
pub(super) fn tcp(stage: &Stage, port: usize) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", stage.ports[port])).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks without TLS, on a port or a socket.
pub(super) fn ask_plain(mut stream: impl Read + Write, what: &str, body: &str) -> String {
    exchange(&mut stream, what, body).unwrap_or_else(|why| why)
}

/// A socket of the server.
pub(super) fn socket(stage: &Stage, file: &str) -> UnixStream {
    let stream = UnixStream::connect(stage.path(file)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(stream: &mut (impl Read + Write), what: &str, body: &str) -> Result<String, String> {
    let length = body.len();
    let head =
        format!("{what} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n");
    let sent = write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}");
    let sent = sent.and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        assert!(read.is_err() || sent.is_err() || read.is_ok_and(|count| count == 0));
        return Err("refused".to_owned());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = if body.len() > 1000 { "(much)" } else { body };
    Ok(format!("{} {}", head.lines().next().unwrap_or_default(), settled(body)))
}

/// What a client is told that is turned away, if it is told anything. With the
/// newer version it has begun to talk by then, and may not hear it.
fn refusal(why: &std::io::Error) -> String {
    match why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("refused: {error}"),
        None => "refused".to_owned(),
    }
}

/// JSON in one form, without the raft term, and without what a busy server comes
/// to only after a while; other text as it is.
fn settled(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.trim().to_owned() };
    if let Some(header) = value.get_mut("header").and_then(Value::as_object_mut) {
        header.remove("raft_term");
    }
    if let Some(version) = value.as_object_mut().filter(|all| all.contains_key("etcdserver")) {
        version.retain(|name, _| name == "etcdserver");
    }
    value.to_string()
}

impl Stage {
    /// Runs `etcdctl`, and writes down what it prints; what it logs is its own.
    pub(super) fn ctl(&mut self, line: &str) {
        self.ctl_within(PATIENCE, line);
    }

    /// The same for who is not let in, and tries until it loses patience.
    pub(super) fn ctl_in_vain(&mut self, line: &str) {
        self.ctl_within(Duration::from_secs(3), line);
    }

    fn ctl_within(&mut self, patience: Duration, line: &str) {
        let filled = super::fill(line, &self.ports);
        let mut arguments: Vec<&str> = filled.split_whitespace().collect();
        let endpoint = format!("--endpoints=https://127.0.0.1:{}", self.ports[0]);
        if !line.contains("--endpoints") {
            arguments.push(&endpoint);
        }
        let output = Command::new(peer("etcdctl"))
            .args(&arguments)
            .arg(format!("--command-timeout={patience:?}"))
            .arg(format!("--dial-timeout={patience:?}"))
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("Error: ")).collect();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code();
        self.note(line, format!("exit {code:?} {printed} {}", errors.join("\n")));
    }

    /// The words of `etcdctl` for who it is.
    pub(super) fn ctl_as(&mut self, who: &str, line: &str) {
        let papers = match who {
            "" => "--cacert=ca.pem".to_owned(),
            who => format!("--cacert=ca.pem --cert={who}.pem --key={who}.key"),
        };
        self.ctl(&format!("{line} {papers}"));
    }

    /// Asks over TLS with HTTP/1.1, and writes the answer down.
    pub(super) fn get(&mut self, who: &'static str, client: &Client, what: &str) {
        let answer = client.ask(self, what, "");
        self.note(&format!("{who} {what}"), answer);
    }

    /// A file of the server's.
    pub(super) fn file(&self, below: &str) -> PathBuf {
        self.path(below)
    }
}
