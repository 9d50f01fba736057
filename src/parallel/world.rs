//! The ranks of this job as one of them sees them.

use std::cell::RefCell;

use anyhow::{Context, Result};
use candle_core::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exchange::{self, Part};
use super::link::Link;
use super::order::{AdapterOrder, Order};
use super::tree::Node;
use super::wire::{Host, Wire};
use crate::error::InputError;

/// The ranks of this job; one alone in most.
#[derive(Default)]
pub struct World {
    link: Option<Box<dyn Link>>,
    /// The digests of the adapters that the other ranks hold for passes.
    adapters: RefCell<Vec<String>>,
    /// The way of gradients that is not the link's.
    wire: RefCell<Option<Box<dyn Wire>>>,
}

impl World {
    /// The ranks that `link` reaches.
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link: Some(link), ..Self::default() }
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

    /// Makes sure that the other ranks hold the adapters `wanted` for passes, and forgets others. Each has its digest, and gives its
    /// safetensors when they are asked for.
    pub fn share_adapters<B: Fn() -> Result<Vec<u8>>>(&self, wanted: &[(String, B)]) -> Result<()> {
        let mut held = self.adapters.borrow_mut();
        held.retain(|held| wanted.iter().any(|(digest, _)| digest == held));
        for (digest, bytes) in wanted {
            if !held.contains(digest) {
                let order = AdapterOrder { digest: digest.clone(), keep: held.clone() };
                self.order_all(&Order::Adapter(order))?;
                self.send_all(&bytes()?)?;
                held.push(digest.clone());
            }
        }
        Ok(())
    }

    /// A new run: the other ranks have no adapter.
    pub fn forget_adapters(&self) {
        self.adapters.borrow_mut().clear();
    }

    /// Has gradients go from GPU to GPU where the leader has one and the program was built with NCCL. All ranks call it, each with its device,
    /// when the leader has begun a run; the second time does nothing.
    pub fn connect(&self, device: &Device) -> Result<()> {
        if self.ranks() == 1 || self.wire.borrow().is_some() {
            return Ok(());
        }
        let name = match self.rank() {
            0 => {
                let name = group_of(device)?;
                self.send_all(&name)?;
                name
            }
            _ => self.from_leader()?,
        };
        if !name.is_empty() {
            *self.wire.borrow_mut() = Some(joined(&name, device, self.rank(), self.ranks())?);
        }
        Ok(())
    }

    /// [`exchange::sum`] over all ranks, whose tensors are on `device`.
    pub fn sum(
        &self,
        device: &Device,
        leaves: usize,
        own: Vec<(Node, Option<Part>)>,
        figures: usize,
        values: usize,
    ) -> Result<Option<Part>> {
        let link = self.link()?;
        match &*self.wire.borrow() {
            Some(wire) => exchange::sum(link, &**wire, leaves, own, figures, values),
            None => {
                let wire = Host { link, device: device.clone() };
                exchange::sum(link, &wire, leaves, own, figures, values)
            }
        }
    }

    /// Ends every rank now, this process among them.
    pub fn abort(&self, status: u8) -> ! {
        match &self.link {
            Some(link) => link.abort(status),
            None => std::process::exit(status.into()),
        }
    }
}

/// The name of a new group of GPUs; empty where gradients go through the host.
#[cfg(feature = "nccl")]
fn group_of(device: &Device) -> Result<Vec<u8>> {
    if device.is_cuda() { super::nccl::new_name() } else { Ok(Vec::new()) }
}

/// The name of a new group of GPUs; empty where gradients go through the host.
#[cfg(not(feature = "nccl"))]
fn group_of(_: &Device) -> Result<Vec<u8>> {
    Ok(Vec::new())
}

/// The way to the GPUs of a group.
#[cfg(feature = "nccl")]
fn joined(name: &[u8], device: &Device, rank: usize, ranks: usize) -> Result<Box<dyn Wire>> {
    match device {
        Device::Cuda(device) => Ok(Box::new(super::nccl::Nccl::join(name, device, rank, ranks)?)),
        _ => Err(InputError::new("this rank runs on the CPU, and rank 0 on a GPU")
            .hint("give all ranks a GPU, or all of them `--device cpu`")
            .into()),
    }
}

/// The way to the GPUs of a group.
#[cfg(not(feature = "nccl"))]
fn joined(_: &[u8], _: &Device, _: usize, _: usize) -> Result<Box<dyn Wire>> {
    Err(InputError::new("rank 0 was built with NCCL, and this rank without")
        .hint("give all machines the same program")
        .into())
}
