//! Large responses in pieces, for watchers that asked for it.

use prost::{Message, length_delimiter_len};

use crate::proto::etcdserverpb::WatchResponse;
use crate::proto::mvccpb::Event;

/// What the ids and the term may add to a header, and the mark of a fragment:
/// whoever sends the response fills them in later.
const HEADER_BYTES: usize = 36;

/// Splits a response of this encoded size or more between its events, greedily;
/// all pieces but the last say that they are fragments.
///
/// - One event is never split, however large it is.
pub(super) fn split(mut response: WatchResponse, bytes: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() + HEADER_BYTES < bytes {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let frame = response.encoded_len() + HEADER_BYTES;
    let mut pieces = Vec::new();
    let mut piece = WatchResponse { fragment: true, ..response };
    let empty = piece.clone();
    let mut size = frame;
    for event in events {
        let more = event_len(&event);
        if !piece.events.is_empty() && size + more >= bytes {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            size = frame;
        }
        size += more;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

/// What an event adds to a response: its field's tag and length, and itself.
fn event_len(event: &Event) -> usize {
    let len = event.encoded_len();
    1 + length_delimiter_len(len) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::ResponseHeader;
    use crate::proto::mvccpb::KeyValue;

    fn response(values: &[usize]) -> WatchResponse {
        let event = |len: &usize| Event {
            kv: Some(KeyValue { value: vec![7; *len].into(), ..KeyValue::default() }),
            ..Event::default()
        };
        WatchResponse {
            header: Some(ResponseHeader { revision: 9, ..ResponseHeader::default() }),
            watch_id: 3,
            events: values.iter().map(event).collect(),
            ..WatchResponse::default()
        }
    }

    fn sizes(pieces: &[WatchResponse]) -> Vec<Vec<usize>> {
        let len = |event: &Event| event.kv.as_ref().unwrap().value.len();
        pieces.iter().map(|piece| piece.events.iter().map(len).collect()).collect()
    }

    #[test]
    fn a_small_response_stays_whole() {
        let pieces = split(response(&[100, 100]), 1000);
        assert_eq!(pieces, [response(&[100, 100])]);
    }

    #[test]
    fn pieces_stay_below_the_limit_and_only_the_last_is_none() {
        let values = [300, 300, 300, 500, 200, 100];
        let pieces = split(response(&values), 800);
        assert_eq!(sizes(&pieces), [vec![300, 300], vec![300], vec![500, 200], vec![100]]);
        for piece in &pieces {
            assert!(piece.encoded_len() < 800);
            assert_eq!(piece.watch_id, 3);
            assert_eq!(piece.header, response(&[]).header);
        }
        let marks: Vec<bool> = pieces.iter().map(|piece| piece.fragment).collect();
        assert_eq!(marks, [true, true, true, false]);
    }

    #[test]
    fn an_event_above_the_limit_goes_alone() {
        assert_eq!(sizes(&split(response(&[2000]), 800)), [vec![2000]]);
        assert_eq!(sizes(&split(response(&[10, 2000, 10]), 800)), [vec![10], vec![2000], vec![10]]);
    }
}
