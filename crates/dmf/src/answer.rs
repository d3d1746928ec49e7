//! Answering requests for download ids, from a queue of their own (see `authentication`). Every node does, and no order is
//! kept: each question stands for itself, and is forgotten after half a minute.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use kettle_domain::Services;
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::mpsc;

use crate::{
    authentication,
    publish::{Outgoing, Publisher},
    refuse::Refusal,
    settings::Settings,
};

const CONSUMER: &str = "kettle-authentication";
/// How many questions are worked on at the same time.
const AT_ONCE: u16 = 32;

pub struct Answerer {
    pub services: Arc<Services>,
    pub settings: Arc<Settings>,
    pub publisher: Arc<Publisher>,
    pub refuse: mpsc::Sender<Refusal>,
}

impl Answerer {
    /// For as long as the channel lives.
    pub async fn run(self, channel: Channel) {
        if let Err(error) = self.consume(&channel).await {
            tracing::warn!(%error, "requests for download ids are not answered until the connection is made again");
        }
    }

    async fn consume(&self, channel: &Channel) -> lapin::Result<()> {
        channel.basic_qos(AT_ONCE, BasicQosOptions::default()).await?;
        let (queue, options) = (self.settings.queues.authentication.as_str(), BasicConsumeOptions::default());
        let mut questions =
            channel.basic_consume(queue.into(), CONSUMER.into(), options, FieldTable::default()).await?;
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                question = questions.next() => match question {
                    Some(question) => answers.push(self.answer(question?)),
                    None => return Ok(()),
                },
                Some(()) = answers.next() => {}
            }
        }
    }

    /// The answer, sent. What is not acknowledged is delivered again with the next connection, unless it is forgotten by then.
    async fn answer(&self, question: Delivery) {
        let body = match authentication::answer(&self.services, &question.data).await {
            Ok(body) => body,
            Err(error) => {
                let message = format!("the request for a download id can't be read: {error}");
                let _ = self.refuse.send(Refusal { delivery: question, reason: "unreadable", message }).await;
                return;
            }
        };
        // Who wants no answer gets none.
        let answer = reply(&question.properties, body);
        match self.publisher.publish(answer.as_slice()).await {
            Ok(()) => {
                let _ = question.acker.ack(BasicAckOptions::default()).await;
            }
            Err(error) => tracing::warn!(%error, "a download id could not be sent"),
        }
    }
}

/// To where the sender wants it, in Spring's forms: `exchange/key`, or a queue; also an exchange, as for all other messages
/// to devices.
fn reply(question: &BasicProperties, body: Vec<u8>) -> Option<Outgoing> {
    let to = question.reply_to().as_ref()?.as_str();
    let mut properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    if let Some(id) = question.correlation_id() {
        properties = properties.with_correlation_id(id.clone());
    }
    let (exchange, routing_key) = to.rsplit_once('/').unwrap_or((to, ""));
    let (exchange, routing_key, or_queue) = (exchange.to_owned(), routing_key.to_owned(), Some(to.to_owned()));
    Some(Outgoing { exchange, routing_key, or_queue, properties, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_where_the_sender_wants_them() {
        let to = |reply_to: &str| {
            let question = BasicProperties::default().with_reply_to(reply_to.into()).with_correlation_id("c".into());
            let reply = reply(&question, Vec::new()).unwrap();
            assert_eq!(reply.properties.correlation_id().as_ref().unwrap().as_str(), "c");
            (reply.exchange, reply.routing_key, reply.or_queue.unwrap())
        };
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(to("answers"), owned("answers", "", "answers"));
        assert_eq!(to("ex/key"), owned("ex", "key", "ex/key"));
        assert_eq!(reply(&BasicProperties::default(), Vec::new()), None);
    }
}
