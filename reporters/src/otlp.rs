//! Items as OpenTelemetry log records, over OTLP/HTTP with its JSON encoding.
//!
//! Invariant: a record is in one request until the receiver has answered that request, so it arrives at least once; and once,
//! unless the receiver died between taking a request and answering it.
//!
//! Records gather while a request is on its way, up to [`BATCH_BYTES`]; when that is full and the receiver takes nothing,
//! [`Reporter::report`] says `Later` and the front keeps and counts. What the receiver refuses for good is told by a loss.
//!
//! See <https://opentelemetry.io/docs/specs/otlp/#otlphttp>: text of 64-bit integers, `camelCase` names, retry on 429, 502,
//! 503 and 504 only.

mod encode;

use core::task::{Context, Poll};
use std::string::{String, ToString as _};

use crate::loss::{Cause, Counts, Loss};
use crate::net::http::{Answer, Http, parse_url};
use crate::net::{Address, Backoff};
use crate::reporter::{Item, ReportError, Reporter};

/// How long a request may become.
pub const BATCH_BYTES: usize = 256 << 10;
/// A request is made when there is so much, without waiting for a pause.
const EAGER_BYTES: usize = 64 << 10;

/// Sends to an OTLP receiver.
pub struct Otlp {
    url: String,
    http: Http,
    batch: encode::Batch,
    /// What the batch holds, should it be refused.
    holds: Option<Loss<'static>>,
    /// What was refused and is not told yet.
    refused: Option<Loss<'static>>,
    backoff: Backoff,
    failure: Option<ReportError>,
}

/// The URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL of this kind.
    #[error("`{0}`: an OTLP receiver is http://HOST:4318/v1/logs, or https")]
    Malformed(String),
    /// Nobody to trust.
    #[error(transparent)]
    Trust(#[from] crate::net::tls::TrustError),
}

impl Otlp {
    /// A reporter to the receiver at `url`; without a path it is the usual one, `/v1/logs`. `https` trusts the certificates
    /// in the PEM file `authorities`, or those that the system trusts.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn new(url: &str, authorities: Option<&std::path::Path>) -> Result<Self, UrlError> {
        let (encrypted, host_and_port, path) = parse_url(url).ok_or_else(|| UrlError::Malformed(url.into()))?;
        let tls = if encrypted { Some(crate::net::tls::Trust::load(authorities)?) } else { None };
        let address = Address { host_and_port, tls };
        let path = if path.len() <= 1 { "/v1/logs".to_string() } else { path };
        Ok(Otlp {
            url: url.into(),
            http: Http::new(address, path),
            batch: encode::Batch::default(),
            holds: None,
            refused: None,
            backoff: Backoff::default(),
            failure: None,
        })
    }

    /// Sends the batch, if there is one, and waits for the answer.
    fn send(&mut self) -> Result<(), ReportError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if let (Some(_), Some(failure)) = (self.backoff.left(), self.failure) {
            return Err(failure);
        }
        let answer = self.http.post("application/json", self.batch.body().as_bytes());
        match answer {
            Ok(Answer { status: 200..=299, body }) => {
                self.backoff.worked();
                self.settle(rejected(&body));
                Ok(())
            }
            Ok(Answer { status: status @ (429 | 502 | 503 | 504), .. }) => {
                Err(self.failed(&std::format!("answers {status}")))
            }
            Ok(Answer { status, .. }) => {
                // Another time it would be no better.
                self.backoff.worked();
                self.settle(u64::MAX);
                Err(ReportError::item(format_args!("OTLP {} refuses records: it answers {status}", self.url)))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&mut self, error: &dyn core::fmt::Display) -> ReportError {
        self.backoff.failed();
        *self.failure.insert(ReportError::later(format_args!("OTLP {}: {error}", self.url)))
    }

    /// The batch has been answered, and `rejected` of its records were not taken.
    fn settle(&mut self, rejected: u64) {
        self.batch.clear();
        let Some(mut holds) = self.holds.take() else { return };
        let total = holds.counts.total();
        if rejected >= total {
            self.refuse(&holds);
        } else if rejected > 0 {
            // Which ones, the answer does not say, nor how long they were.
            (holds.bytes, holds.is_about) = (None, false);
            holds.counts = Counts { unknown: rejected, ..Counts::default() };
            self.refuse(&holds);
        }
    }

    fn refuse(&mut self, loss: &Loss<'static>) {
        match &mut self.refused {
            Some(refused) => refused.merge(loss),
            None => self.refused = Some(*loss),
        }
    }

    fn add(&mut self, item: &Item<'_>) {
        let before = self.batch.len();
        self.batch.add(item);
        let (bytes, time) = ((self.batch.len() - before) as u64, item.time());
        let holds = self.holds.get_or_insert(Loss::new(Cause::Failed, "the OTLP receiver", time));
        match item {
            Item::Record(record) => holds.add(record.level, bytes, time),
            Item::Loss(loss) => holds.merge(loss),
        }
    }
}

/// How many records the receiver says it did not take: `{"partialSuccess":{"rejectedLogRecords":"3"}}`.
fn rejected(body: &[u8]) -> u64 {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else { return 0 };
    let count = &answer["partialSuccess"]["rejectedLogRecords"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

impl Reporter for Otlp {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        if self.batch.len() >= BATCH_BYTES {
            self.send()?;
        }
        if let Some(refused) = self.refused.take() {
            self.add(&Item::Loss(refused));
        }
        self.add(item);
        if self.batch.len() >= EAGER_BYTES {
            // It is taken all the same; while there is room, the next items are too.
            let _ = self.send();
        }
        Ok(())
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        let sent = self.send();
        if let Some(refused) = self.refused.take() {
            // Told by itself only once: a receiver that refuses everything would refuse this too, without end.
            self.add(&Item::Loss(refused));
            if self.send().is_err() && self.refused.is_some() {
                return Poll::Ready(sent);
            }
        }
        Poll::Ready(sent)
    }

    fn worst_case_bytes(&self) -> usize {
        // The batch and its longest last record, its copy as a request, and an answer.
        2 * (BATCH_BYTES + (64 << 10)) + (64 << 10)
    }
}

impl core::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Otlp").field("url", &self.url).field("batch_bytes", &self.batch.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn what_a_receiver_rejects_is_read_as_number_or_text_and_nonsense_is_nothing() {
        let bodies: [(&[u8], u64); 5] = [
            (br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"x"}}"#, 3),
            (br#"{"partialSuccess":{"rejectedLogRecords":4}}"#, 4),
            (b"{}", 0),
            (b"", 0),
            (b"\xff", 0),
        ];
        for (body, count) in bodies {
            assert_eq!(rejected(body), count);
        }
    }

    #[test]
    fn a_url_that_is_none_is_named() {
        let error = Otlp::new("localhost:4318", None).unwrap_err().to_string();
        assert!(error.starts_with("`localhost:4318`: an OTLP receiver is http://"), "{error}");
    }

    #[test]
    fn the_time_of_a_guest_without_a_wall_clock_is_left_out() {
        let mut batch = encode::Batch::default();
        let record = crate::Record { time: Time::since_start(5), ..crate::Record::BLANK };
        batch.add(&Item::Record(record));
        assert!(!batch.body().contains("timeUnixNano"), "{}", batch.body());
    }
}
