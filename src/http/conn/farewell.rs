//! Owns the end that a closed switch puts to an upgraded connection: when it is due, and the last word
//! that a WebSocket is told.
//!
//! Must not move bytes; the tunnel does.

use crate::http::gate;
use crate::http::headers::Name;
use crate::http::live::Live;
use crate::http::modules::maintenance::{self, Websocket};
use crate::http::request::Request;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;
use tokio::time::sleep;

/// A close frame with status 1012, "service restart" (RFC 6455, 5.5.1, and IANA's registry).
const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xf4];

/// How often somebody who may pass a closed door is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits for the end of one connection.
pub struct Farewell {
    switch: usize,
    after: Duration,
    /// Until the next look; `None` when none is due any more.
    wait: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The frames on the way to the client, when they are a WebSocket's.
    frames: Option<Frames>,
}

impl Farewell {
    /// For a request that has been upgraded.
    pub fn new(req: &Request) -> Self {
        let conf = &req.conf().maintenance;
        let mut farewell =
            Self { switch: conf.switch, after: Duration::ZERO, wait: None, frames: None };
        if let Websocket::Close { after } = conf.websocket
            && !maintenance::is_exempt(req)
        {
            farewell.after = after;
            farewell.wait = Some(Box::pin(due(req.live.clone(), conf.switch, after)));
            let protocol = req.head.headers.get(Name::Upgrade).unwrap_or_default();
            farewell.frames = protocol.eq_ignore_ascii_case(b"websocket").then(Frames::default);
        }
        farewell
    }

    /// Whether the end is due now.
    pub fn poll(&mut self, req: &Request, cx: &mut Context<'_>) -> bool {
        while let Some(wait) = &mut self.wait {
            if wait.as_mut().poll(cx).is_pending() {
                return false;
            }
            if !req.live.gate.is_closed(self.switch) {
                *wait = Box::pin(due(req.live.clone(), self.switch, self.after));
            } else if maintenance::admits(req).is_some() {
                *wait = Box::pin(sleep(AGAIN));
            } else {
                self.wait = None;
                return true;
            }
        }
        false
    }

    /// Takes note of what goes to the client.
    pub fn pass(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.pass(bytes);
        }
    }

    /// Puts the last word behind what waits to be written from `at` on. A frame that has not begun to
    /// go out stays behind; one that has is cut off, and then nothing can be said any more.
    pub fn say(&self, out: &mut Vec<u8>, at: usize) {
        let Some(frames) = &self.frames else { return };
        if let Some(end) = out.len().checked_sub(frames.begun).filter(|end| *end >= at) {
            out.truncate(end);
            out.extend_from_slice(&CLOSE);
        }
    }
}

/// Resolves some time after the switch was closed.
async fn due(live: Rc<Live>, switch: usize, after: Duration) {
    gate::closed(&live, switch).await;
    sleep(after).await;
}

/// Where frames begin and end among the bytes of a WebSocket (RFC 6455, section 5.2).
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of a frame that has begun and not ended.
    begun: usize,
    /// The head of that frame as far as it has come.
    head: Vec<u8>,
    /// Bytes of its payload still to come, once the head is there.
    left: Option<u64>,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.left {
                Some(left) => bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
                None => 1,
            };
            if let Some(left) = &mut self.left {
                *left -= taken as u64;
            } else {
                self.head.push(bytes[0]);
                self.left = payload(&self.head);
            }
            self.begun = self.begun.saturating_add(taken);
            bytes = &bytes[taken..];
            if self.left == Some(0) {
                *self = Self { head: std::mem::take(&mut self.head), ..Self::default() };
                self.head.clear();
            }
        }
    }
}

/// The length of the payload behind a head; `None` while the head is not complete.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let longer = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + longer + mask {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    Some(if longer == 0 { u64::from(second & 0x7f) } else { number(&head[2..2 + longer]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(bit | u8::try_from(length).unwrap()),
            126..65536 => {
                frame.push(bit + 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit + 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + if masked { 4 } else { 0 } + length, b'x');
        frame
    }

    fn farewell(passed: &[u8]) -> Farewell {
        let frames = Some(Frames::default());
        let mut farewell = Farewell { switch: 0, after: Duration::ZERO, wait: None, frames };
        farewell.pass(passed);
        farewell
    }

    #[test]
    fn the_last_word_stands_between_frames() {
        let whole = frame(10, false);
        let mut out = whole.clone();
        farewell(&out).say(&mut out, 0);
        assert_eq!(out, [&whole[..], &CLOSE].concat());
        // The next frame has come in part, and nothing of it has gone out.
        let mut out = [&whole[..], &whole[..5]].concat();
        let farewell = farewell(&out);
        farewell.say(&mut out, whole.len());
        assert_eq!(out, [&whole[..], &CLOSE].concat());
    }

    #[test]
    fn a_frame_that_has_begun_to_go_out_is_not_made_worse() {
        let part = &frame(10, false)[..5];
        let mut out = part.to_vec();
        farewell(part).say(&mut out, 1);
        assert_eq!(out, part);
        // All of the part has gone out, and its buffer is empty again.
        let mut out = Vec::new();
        farewell(part).say(&mut out, 0);
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_no_websocket_is_told_nothing() {
        let mut farewell = farewell(b"");
        farewell.frames = None;
        let mut out = b"bytes".to_vec();
        farewell.say(&mut out, 0);
        assert_eq!(out, b"bytes");
    }

    proptest! {
        #[test]
        fn frames_are_found_in_pieces_of_any_length(
            lengths in proptest::collection::vec((0..70_000_usize, any::<bool>()), 0..4),
            rest in 0..300_usize, piece in 1..5000_usize,
        ) {
            let frames: Vec<u8> =
                lengths.iter().flat_map(|(length, masked)| frame(*length, *masked)).collect();
            // One byte less than a whole frame at most.
            let rest = frame(300, false)[..rest].to_vec();
            let mut found = Frames::default();
            for piece in [&frames[..], &rest].concat().chunks(piece) {
                found.pass(piece);
            }
            prop_assert_eq!(found.begun, rest.len());
        }
    }
}
