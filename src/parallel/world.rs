//! The ranks of this job as one of them sees them.

use std::cell::RefCell;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exchange::{self, Part};
use super::link::Link;
use super::order::Order;
use super::tree::Node;
use crate::error::InputError;

/// The ranks of this job; one alone in most.
#[derive(Default)]
pub struct World {
    link: Option<Box<dyn Link>>,
    /// The digest of the adapter that the other ranks have for passes.
    adapter: RefCell<Option<String>>,
}

impl World {
    /// The ranks that `link` reaches.
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link: Some(link), adapter: RefCell::default() }
    }

    /// The ranks that a launcher has started this process among.
    #[cfg(feature = "mpi")]
    pub fn join() -> Result<Self> {
        Ok(Self::new(Box::new(super::mpi::Mpi::join()?)))
    }

    /// The ranks that a launcher has started this process among.
    #[cfg(not(feature = "mpi"))]
    pub fn join() -> Result<Self> {
        Self::refuse_without_mpi().map(|()| Self::default())
    }

    /// Refuses several ranks in a program that was built without MPI.
    pub fn refuse_without_mpi() -> Result<()> {
        if cfg!(feature = "mpi") {
            return Ok(());
        }
        Err(InputError::new("several ranks need MPI, and this program was built without it")
            .hint("build it with `--features mpi`; docs/clusters.md has the commands")
            .into())
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.link.as_ref().map_or(1, |link| link.ranks())
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.rank())
    }

    /// The other ranks, for the leader.
    pub fn others(&self) -> std::ops::Range<usize> {
        1..self.ranks()
    }

    fn link(&self) -> Result<&dyn Link> {
        self.link.as_deref().context("this process has no other ranks")
    }

    /// Sends an order to the rank `to`.
    pub fn order(&self, to: usize, order: &Order) -> Result<()> {
        self.link()?.send(to, &serde_json::to_vec(order)?)
    }

    /// Sends an order to all other ranks.
    pub fn order_all(&self, order: &Order) -> Result<()> {
        self.others().try_for_each(|to| self.order(to, order))
    }

    /// Sends bytes to all other ranks, which an order has announced.
    pub fn send_all(&self, bytes: &[u8]) -> Result<()> {
        self.others().try_for_each(|to| self.link()?.send(to, bytes))
    }

    /// The leader's next order.
    pub fn next_order(&self) -> Result<Order> {
        serde_json::from_slice(&self.from_leader()?).context("an order is not understood")
    }

    /// The leader's next message.
    pub fn from_leader(&self) -> Result<Vec<u8>> {
        self.link()?.receive(0)
    }

    /// Answers the leader.
    pub fn answer(&self, answer: &impl Serialize) -> Result<()> {
        self.link()?.send(0, &serde_json::to_vec(answer)?)
    }

    /// The answer of the rank `from`.
    pub fn answer_of<T: DeserializeOwned>(&self, from: usize) -> Result<T> {
        let bytes = self.link()?.receive(from)?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("the answer of rank {from} is not understood"))
    }

    /// Makes sure that the other ranks have the adapter with this digest for passes; `bytes`: its safetensors.
    pub fn share_adapter(
        &self,
        digest: String,
        bytes: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<()> {
        if self.adapter.borrow().as_ref() != Some(&digest) {
            self.order_all(&Order::Adapter(digest.clone()))?;
            self.send_all(&bytes()?)?;
            *self.adapter.borrow_mut() = Some(digest);
        }
        Ok(())
    }

    /// A new run: the other ranks have no adapter.
    pub fn forget_adapter(&self) {
        *self.adapter.borrow_mut() = None;
    }

    /// [`exchange::sum`] over all ranks.
    pub fn sum(
        &self,
        leaves: usize,
        own: Vec<(Node, Option<Part>)>,
        figures: usize,
        values: usize,
    ) -> Result<Option<Part>> {
        exchange::sum(self.link()?, leaves, own, figures, values)
    }

    /// Ends every rank now, this process among them.
    pub fn abort(&self, status: u8) -> ! {
        match &self.link {
            Some(link) => link.abort(status),
            None => std::process::exit(status.into()),
        }
    }
}
