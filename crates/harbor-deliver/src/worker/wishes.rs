//! Circuit breakers in the store: makes true what lanes wish, and tells lanes what others did.

use std::sync::Arc;

use harbor_model::decide::breaker::Wish;
use harbor_model::port::Fault;
use harbor_model::port::breakers::BREAKERS_LISTED_MAX;
use harbor_model::port::deliveries::EndpointKey;
use tracing::warn;

use crate::worker::Inner;

/// Makes a wish true and tells the lane what came of it.
pub(super) async fn make_true(inner: Arc<Inner>, key: EndpointKey, wish: Wish) {
    let breakers = &inner.deps.breakers;
    let asked = async {
        match wish {
            Wish::Open(opening) => breakers.open_breaker(&key, opening).await,
            Wish::Change { version, change } => breakers.change_breaker(&key, version, change).await,
        }
    };
    let answer = tokio::select! {
        biased;
        answer = asked => answer,
        () = inner.abandoning.cancelled() => Err(Fault::bare("the worker ends")),
    };
    match answer {
        Ok(in_force) => inner.lanes().granted(&key, in_force, inner.deps.clock.now()),
        Err(fault) => {
            let endpoint_id = key.endpoint_id;
            warn!(
                tenant_id = %key.tenant_id, %endpoint_id, %fault,
                "cannot change the circuit breaker of {endpoint_id}, the next walk tries again: {fault}"
            );
            inner.lanes().not_granted(&key);
        }
    }
    inner.pump();
    inner.left.notify_waiters();
}

/// Reads which breakers are not closed and tells all lanes; tries again what could not be made true.
pub(super) async fn adopt(inner: &Arc<Inner>) -> Result<(), Fault> {
    let step = {
        let mut lanes = inner.lanes();
        lanes.wish_again();
        lanes.breaker_step()
    };
    inner.pump();
    let listed = inner.deps.breakers.open_breakers().await?;
    let is_complete = listed.len() < BREAKERS_LISTED_MAX;
    inner.lanes().adopt(listed, is_complete, step, inner.deps.clock.now());
    inner.pump();
    Ok(())
}
