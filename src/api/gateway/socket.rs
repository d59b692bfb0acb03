//! WebSockets: the gateway's conversation in frames, for browsers.
//!
//! Each message of the client is a piece of the request's body, each line of the
//! answer a message. As in etcd, the call is a POST whatever was asked, the token
//! comes as a protocol or as a cookie since browsers cannot set headers, and the
//! connection ends with the answer, without a word.

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _, stream};
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::request::Parts;
use http::{Method, Uri};
use tokio::sync::mpsc;

use super::desk::Gateway;

/// The protocol behind whose name a token stands.
const BEARER: &str = "Bearer";

/// The cookie that holds a token.
const TOKEN_COOKIE: &str = "token=";

/// Messages of the client that wait to be read; then the client waits.
const WAITING_MAX: usize = 8;

/// Tells whether a request wants to become a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_word(headers, &CONNECTION, "upgrade") && has_word(headers, &UPGRADE, "websocket")
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

/// Makes a WebSocket of a request, and holds the conversation.
pub(super) async fn open(gateway: Gateway, request: Request) -> Response {
    let (mut parts, _body) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let (uri, headers) = (parts.uri.clone(), headers(&parts));
    let bytes_max = gateway.json_bytes_max();
    let upgrade = upgrade.max_message_size(bytes_max).max_frame_size(bytes_max);
    let talk = move |socket| talk(gateway, uri, headers, socket);
    upgrade.protocols([BEARER]).on_upgrade(talk)
}

/// The headers of the call.
fn headers(parts: &Parts) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let cookies = text(&COOKIE).into_iter().flat_map(|cookies| cookies.split(';'));
    let cookie = cookies.map(str::trim).find_map(|cookie| cookie.strip_prefix(TOKEN_COOKIE));
    let protocol = text(&SEC_WEBSOCKET_PROTOCOL)
        .and_then(|protocols| protocols.split_once("Bearer,"))
        .map(|(_, token)| token.trim_matches(' '));
    if let Some(token) = cookie.or(protocol)
        && let Ok(value) = HeaderValue::from_str(&format!("{BEARER} {token}"))
    {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

async fn talk(gateway: Gateway, uri: Uri, headers: HeaderMap, socket: WebSocket) {
    let (mut sink, source) = socket.split();
    let (tx, rx) = mpsc::channel(WAITING_MAX);
    let pieces = stream::unfold(rx, |mut rx: mpsc::Receiver<Bytes>| async move {
        let piece = rx.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), rx))
    });
    let mut request = Request::new(Body::from_stream(pieces));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
        (Method::POST, uri, headers);
    let stop = gateway.stop().clone();
    let answer = async {
        let mut body = Box::pin(gateway.converse(request)).await.into_body().into_data_stream();
        let mut lines = Lines::default();
        while let Some(Ok(piece)) = body.next().await {
            for line in lines.take(&piece) {
                sink.send(Message::text(line)).await?;
            }
        }
        match lines.rest() {
            Some(line) => sink.send(Message::text(line)).await,
            None => Ok(()),
        }
    };
    tokio::select! {
        () = listen(source, tx) => {}
        () = stop.cancelled() => {}
        ended = answer => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a WebSocket broke");
            }
        }
    }
}

/// Hands on what the client says, for as long as it is there; what the call does
/// not read is dropped.
async fn listen(mut source: SplitStream<WebSocket>, tx: mpsc::Sender<Bytes>) {
    let mut tx = Some(tx);
    while let Some(Ok(message)) = source.next().await {
        let piece = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        let piece = Bytes::from([&piece[..], b"\n"].concat());
        if let Some(open) = &tx
            && open.send(piece).await.is_err()
        {
            tx = None;
        }
    }
}

/// Cuts an answer into its lines; empty ones are none.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(piece);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let whole = String::from_utf8_lossy(&whole);
        whole.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn rest(self) -> Option<String> {
        let rest = String::from_utf8_lossy(&self.0).into_owned();
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_protocol_or_a_cookie() {
        let read = |list: &[(&'static str, &'static str)]| {
            let mut request = Request::new(Body::empty());
            for (name, value) in list {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            let parts = request.into_parts().0;
            let headers = headers(&parts);
            headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned())
        };
        let protocol = ("sec-websocket-protocol", "Bearer, abc");
        assert_eq!(read(&[protocol]).as_deref(), Some("Bearer abc"));
        assert_eq!(
            read(&[("sec-websocket-protocol", "Bearer,abc")]).as_deref(),
            Some("Bearer abc")
        );
        let cookie = ("cookie", "a=b; token=xyz");
        assert_eq!(read(&[protocol, cookie]).as_deref(), Some("Bearer xyz"));
        assert_eq!(read(&[("authorization", "Bearer abc")]), None, "no other header goes along");
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers() {
        let ask = |connection, upgrade| {
            is_asked_for(&HeaderMap::from_iter([
                (CONNECTION, HeaderValue::from_static(connection)),
                (UPGRADE, HeaderValue::from_static(upgrade)),
            ]))
        };
        assert!(ask("keep-alive, Upgrade", "WebSocket"));
        assert!(!ask("keep-alive", "websocket") && !ask("Upgrade", "h2c"));
    }

    #[test]
    fn lines_are_messages_however_they_are_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"{\"a\""), [""; 0]);
        assert_eq!(lines.take(b":1}\n\n{\"b\":2}\n{"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(lines.rest().as_deref(), Some("{"));
        assert_eq!(Lines::default().rest(), None);
    }
}
