//! What workers told the store of their attempts, and what the store made of it.

use harbor_model::attempt::Attempt;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{AttemptResult, Finish, LeaseKey};
use harbor_model::time::Timestamp;

use crate::receivers::Answer;
use crate::sim::ledger::Ledger;
use crate::sim::ledger::requests::Ending;

/// A result on its way to the store.
pub(crate) struct Told {
    key: LeaseKey,
    /// The request that it tells of.
    seq: Option<usize>,
    number: Option<u16>,
    next: Next,
    decided_at: Timestamp,
}

impl Told {
    pub(crate) fn of(result: &AttemptResult) -> Self {
        Self {
            key: result.lease.key().clone(),
            seq: result.attempt.as_ref().and_then(seq_of),
            number: result.attempt.as_ref().and_then(|attempt| attempt.number),
            next: result.next,
            decided_at: result.decided_at,
        }
    }
}

/// The request that an attempt tells of: receivers put its number into whatever they answer.
pub(crate) fn seq_of(attempt: &Attempt) -> Option<usize> {
    let body = std::str::from_utf8(&attempt.response_body).ok()?;
    let text = attempt.error.as_deref().unwrap_or(body);
    text.strip_prefix('#')?.split(' ').next()?.parse().ok()
}

impl Ledger {
    /// Says what the store made of a result.
    pub(crate) fn finished(&mut self, told: &Told, finish: &Result<Finish, Fault>) {
        let label = self.label_of(told.key.delivery_id);
        let holds = self.holds(&told.key);
        self.last_ended_at = Some(self.now());
        let ending = match finish {
            Ok(Finish::Recorded { disabled, lane_moved: _ }) => {
                self.hold(holds, || format!("a result of {label} is recorded after its lease was lost"));
                self.leases.remove(&told.key.delivery_id);
                self.recorded(told, &label);
                if disabled.is_some() {
                    let endpoint = self.deliveries[&told.key.delivery_id].endpoint;
                    self.endpoint_changes(endpoint, |facts| facts.is_disabled = true);
                }
                Ending::Recorded
            }
            Ok(Finish::Superseded) => {
                self.hold(!holds, || format!("a result of {label} is superseded though its lease held"));
                self.note(format_args!("a result of {label} is superseded"));
                Ending::Superseded
            }
            Err(fault) => {
                self.note(format_args!("a result of {label} is not recorded: {fault}"));
                self.returned(&told.key);
                Ending::Unrecorded
            }
        };
        if let Some(seq) = told.seq {
            let request = &mut self.requests[seq];
            let before = std::mem::replace(&mut request.ending, ending);
            let is_its_own = request.delivery == told.key.delivery_id;
            self.hold(before == Ending::None, || format!("#{seq} is told of twice"));
            self.hold(is_its_own, || format!("#{seq} is told of as one of {label}"));
        }
    }

    /// Says that the answer of the store was lost on its way: the worker cannot know what came of it.
    pub(crate) fn finish_unheard(&mut self, told: &Told) {
        let label = self.label_of(told.key.delivery_id);
        self.note(format_args!("the answer to a result of {label} is lost"));
    }

    fn recorded(&mut self, told: &Told, label: &str) {
        let delivery = &self.deliveries[&told.key.delivery_id];
        let (before, attempts, max_attempts) =
            (delivery.status, delivery.attempts, self.endpoints[&delivery.endpoint].max_attempts);
        let is_final = delivery.is_final();
        self.hold(!is_final, || format!("{label} was {before} and a result is recorded"));
        if let Some(number) = told.number {
            self.hold(number == attempts + 1, || {
                format!("attempt {number} of {label} is recorded after {attempts}")
            });
            self.hold(number <= max_attempts, || {
                format!("attempt {number} of {label} is recorded, {max_attempts} are allowed")
            });
        }
        self.check_consequence(told, label, max_attempts);

        let (status, due_at) = match told.next {
            Next::Delivered => (DeliveryStatus::Delivered, None),
            Next::Dead(_) => (DeliveryStatus::Dead, None),
            Next::RetryAt(instant) => (DeliveryStatus::Failed, Some(instant)),
        };
        let number = told.number.unwrap_or(attempts);
        self.note(format_args!("{label} is {status} after attempt {number}"));
        let delivery = self.deliveries.get_mut(&told.key.delivery_id).expect("it was found above");
        (delivery.status, delivery.due_at, delivery.attempts) = (status, due_at, number);
        if status == DeliveryStatus::Dead {
            delivery.dead_at = Some(told.decided_at);
            self.head_died(told.key.delivery_id);
            return;
        }
        if status == DeliveryStatus::Failed && number == 0 {
            delivery.status = DeliveryStatus::Queued;
        }
    }

    /// What follows is what the receiver's answer calls for.
    fn check_consequence(&mut self, told: &Told, label: &str, max_attempts: u16) {
        let Some(answer) = told.seq.and_then(|seq| self.requests[seq].answer.clone()) else {
            return self.hold(told.seq.is_none(), || format!("{label} was never answered and is recorded"));
        };
        let is_accepted = matches!(answer, Answer::Status(200..=299));
        let is_last = told.number == Some(max_attempts);
        let fits = match told.next {
            Next::Delivered => is_accepted,
            Next::RetryAt(instant) => !is_accepted && !is_last && instant >= told.decided_at,
            Next::Dead(Cause::AttemptsExhausted) => !is_accepted && is_last,
            Next::Dead(Cause::EndpointGone) => answer == Answer::Status(410),
            Next::Dead(Cause::ClientError) => matches!(answer, Answer::Status(400..=499)),
            Next::Dead(_) => false,
        };
        self.hold(fits, || {
            format!("{label} was answered {answer:?}, which does not call for {:?}", told.next)
        });
    }
}
