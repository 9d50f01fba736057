//! `--ranks`: the same command on several processes, each with a device of its own.

use std::rc::Rc;
use std::time::Duration;

use crate::cli::told;
use crate::console::interrupt::{self, Interrupted};
use crate::error::InputError;
use crate::machine;
use crate::parallel::launch::{self, Parting};
use crate::parallel::order::Order;
use crate::parallel::world::World;
use crate::train::follower::follow;

/// How long a rank that fails leaves the word to the first, which may have found the same.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// Most ranks of `--ranks`; a launcher may start more.
const MOST_RANKS: usize = 4096;

/// The value of `--ranks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranks {
    /// As many as there are GPUs.
    All,
    /// This many.
    Number(usize),
}

impl Ranks {
    /// How many.
    pub(super) fn number(self) -> anyhow::Result<usize> {
        match (self, machine::gpus()) {
            (Self::Number(number), _) => Ok(number),
            (Self::All, 0) => {
                let message = "`--ranks all` is one rank for each GPU, and there is none";
                Err(InputError::new(message).hint("give the number of ranks").into())
            }
            (Self::All, gpus) => Ok(gpus),
        }
    }
}

/// Parses the value of `--ranks`.
pub(super) fn parse(text: &str) -> Result<Ranks, String> {
    match text.parse::<usize>() {
        Ok(number) if (1..=MOST_RANKS).contains(&number) => Ok(Ranks::Number(number)),
        _ if text == "all" => Ok(Ranks::All),
        _ => Err(format!("expected `all` or a number in 1..={MOST_RANKS}, got `{text}`")),
    }
}

/// Has the first rank `lead`, given its device and the world, and the others follow. `asked`: the value of `--ranks`; `device`: of `--device`.
///
/// Returns when the ranks have ended; does not return where this is one of several and it fails.
pub(super) fn on(
    asked: Option<Ranks>,
    device: &str,
    lead: impl FnOnce(String, Rc<World>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(world) = join(asked, device)? else { return Ok(()) };
    let world = Rc::new(world);
    let outcome = machine::device_of_rank(device, world.ranks()).and_then(|device| {
        interrupt::install()?;
        // One rank too: `scripts/slurm.sh` has Slurm send it in an array of runs.
        if launch::launched().is_some() {
            interrupt::install_passed_on()?;
        }
        if world.rank() > 0 {
            interrupt::leave_to_another();
            launch::end_with_the_launcher(Parting::Killed)?;
            return follow(&world, &device);
        }
        if world.ranks() > 1 {
            launch::end_with_the_launcher(Parting::Asked)?;
        }
        lead(device, Rc::clone(&world))
    });
    ended(outcome, &world)
}

/// Joins the ranks that a launcher has started; or starts the launcher of `asked` ranks on `device`, and none when it has ended.
fn join(asked: Option<Ranks>, device: &str) -> anyhow::Result<Option<World>> {
    let asked = asked.map(Ranks::number).transpose()?;
    match (launch::launched(), asked) {
        (None, Some(ranks)) if ranks > 1 => {
            World::refuse_without_mpi()?;
            machine::device_of_rank(device, ranks)?;
            interrupt::install()?;
            launch::run(ranks)?;
            Ok(None)
        }
        (None | Some(1), None | Some(1)) => Ok(Some(World::default())),
        (Some(ranks), Some(asked)) if ranks != asked => {
            let message = format!("`--ranks {asked}`: this is one of {ranks} ranks already");
            let hint = "leave `--ranks` out under `mpirun` or `srun`";
            Err(InputError::new(message).hint(hint).into())
        }
        (launched, _) => joined(launched).map(Some),
    }
}

/// The world of all ranks that the launcher says it has started. Refuses a launcher of another MPI, under which each rank would be alone.
fn joined(launched: Option<usize>) -> anyhow::Result<World> {
    let (world, launched) = (World::join()?, launched.unwrap_or(1));
    if world.ranks() == launched {
        return Ok(world);
    }
    let message =
        format!("the launcher has started {launched} ranks, and MPI sees {}", world.ranks());
    let hint = "use the launcher of the MPI that this program was built with; under Slurm `srun --mpi=pmix`";
    Err(InputError::new(message).hint(hint).into())
}

/// Ends a rank. The other ranks end with one that fails, which says why: they would wait for it forever.
fn ended(outcome: anyhow::Result<()>, world: &World) -> anyhow::Result<()> {
    if world.ranks() == 1 {
        return outcome;
    }
    match outcome {
        Ok(()) if world.rank() == 0 => world.order_all(&Order::End),
        Ok(()) => Ok(()),
        // The leader has the last word on a signal, unless it is gone.
        Err(error) if world.rank() > 0 && error.is::<Interrupted>() => {
            world.abort(interrupt::status())
        }
        Err(error) => {
            let named = match world.rank() {
                0 => error,
                rank => {
                    std::thread::sleep(FIRST_WORD);
                    error.context(format!("rank {rank}"))
                }
            };
            world.abort(launch::marked(told(Err(named))))
        }
    }
}
