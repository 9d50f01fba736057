//! The harness gives the right results, and catches the mistakes it is there to catch.

use super::{Accesses, Argument, Kernels, Launch};

fn kernels() -> Option<&'static Kernels> {
    Kernels::of("tests/it/kernels/harness.cu")
}

/// A launch of kernels with mistakes that the order of accesses would show first.
fn unwatched(blocks: u32, threads: u32) -> Launch {
    Launch { accesses: Accesses::Unwatched, ..Launch::of(blocks, threads) }
}

fn sum(kernel: &str, seed: u64) -> f32 {
    let (x, mut y) = ((0..256).map(|i| i as f32).collect::<Vec<_>>(), [0f32]);
    let launch = Launch { seed, ..unwatched(1, 256) };
    kernels().unwrap().launch(kernel, launch, &mut [Argument::read(&x), Argument::write(&mut y)]);
    y[0]
}

#[test]
fn a_block_sums_through_shared_memory() {
    if kernels().is_some() {
        for seed in 0..4 {
            assert_eq!(sum("sum_with_barriers", seed).to_bits(), 32640f32.to_bits());
        }
    }
}

#[test]
fn a_missing_barrier_gives_a_wrong_sum() {
    if kernels().is_some() {
        assert!((0..4).all(|seed| sum("sum_without_barriers", seed).is_nan()));
    }
}

#[test]
fn a_result_that_depends_on_the_order_of_threads_changes_with_the_seed() {
    let Some(kernels) = kernels() else { return };
    let last = |seed| {
        let mut y = [0f32];
        let launch = Launch { seed, ..unwatched(1, 64) };
        kernels.launch("last_writer", launch, &mut [Argument::write(&mut y)]);
        y[0].to_bits()
    };
    assert!((1..8).any(|seed| last(seed) != last(0)));
    assert_eq!(last(3), last(3));
    kernels.launch("last_writer", Launch::of(1, 64), &mut [Argument::Null]);
}

#[test]
fn lanes_and_threads_that_are_missing_end_the_launch() {
    let Some(kernels) = kernels() else { return };
    for (kernel, expected) in [
        ("shuffle_of_half_a_warp", "lanes of one warp wait in different operations"),
        ("barrier_without_a_thread", "threads wait at __syncthreads for others that have returned"),
    ] {
        let mut y = [0f32; 64];
        let arguments = &mut [Argument::write(&mut y)];
        let message = kernels.try_launch(kernel, Launch::of(1, 64), arguments).unwrap_err();
        assert_eq!(message, format!("{kernel}: block (0, 0, 0): {expected}"));
    }
}

#[test]
fn shared_memory_is_nan_until_written_and_ends_where_it_ends() {
    let Some(kernels) = kernels() else { return };
    let mut y = [0f32];
    let mut write = |at: u32| {
        let arguments = &mut [Argument::write(&mut y), Argument::value(at)];
        let launch = Launch { shared: 64, ..Launch::of(1, 1) };
        kernels.try_launch("write_shared", launch, arguments)
    };
    write(15).unwrap();
    let behind = write(16).unwrap_err();
    assert!(behind.ends_with("something was written behind the dynamic shared memory"), "{behind}");
    write(15).unwrap();
    assert!(y[0].is_nan());
}

#[test]
fn arrays_end_where_they_end() {
    let Some(kernels) = kernels() else { return };
    let (x, mut y) = ([1f32; 8], [0f32; 8]);
    let mut read_next = |stray: u32| {
        let arguments = &mut [Argument::read(&x), Argument::write(&mut y), Argument::value(stray)];
        kernels.try_launch("read_next", unwatched(1, 8), arguments)
    };
    read_next(0).unwrap();
    let beyond = read_next(1).unwrap_err();
    assert_eq!(beyond, "read_next: argument 1 was written beyond its ends");
    read_next(0).unwrap();
    assert!(y[6] > 0.5 && y[7].is_nan());
    let z = [0f32; 8];
    let arguments = &mut [Argument::read(&x), Argument::read(&z), Argument::value(0u32)];
    let message = kernels.try_launch("read_next", unwatched(1, 8), arguments).unwrap_err();
    assert_eq!(message, "read_next: argument 1 was written but is for reading");
}

#[test]
fn an_asynchronous_copy_is_only_sure_to_have_landed_when_it_is_waited_for() {
    let Some(kernels) = kernels() else { return };
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    for seed in 0..4 {
        for waits in [1u32, 0] {
            let mut y = [0f32; 64];
            let arguments =
                &mut [Argument::read(&x), Argument::write(&mut y), Argument::value(waits)];
            let launch = Launch { shared: 256, seed, ..unwatched(1, 16) };
            kernels.launch("copy_through_shared", launch, arguments);
            let landed = y.iter().filter(|y| !y.is_nan()).count();
            assert!(if waits == 1 { x == y } else { landed > 0 && landed < y.len() });
        }
    }
}

#[test]
fn the_tensor_core_multiplies_matrices() {
    let Some(kernels) = kernels() else { return };
    // Whole numbers below 256 are bf16 numbers, and their products are summed without rounding.
    let bf16 = |x: &u32| ((*x as f32).to_bits() >> 16) as u16;
    let (a, b): (Vec<u32>, Vec<u32>) =
        ((0..256).map(|i| i * 37 % 251).collect(), (0..128).map(|i| i * 53 % 241).collect());
    let mut d = [0f32; 128];
    let (left, right): (Vec<u16>, Vec<u16>) =
        (a.iter().map(bf16).collect(), b.iter().map(bf16).collect());
    let arguments = &mut [Argument::read(&left), Argument::read(&right), Argument::write(&mut d)];
    kernels.launch("multiply", Launch { shared: 768, ..Launch::of(1, 32) }, arguments);
    for (at, got) in d.iter().enumerate() {
        let want: u32 = (0..16).map(|k| a[at / 8 * 16 + k] * b[k * 8 + at % 8]).sum();
        assert_eq!(got.to_bits(), (want as f32).to_bits(), "element {at}");
    }
}

#[test]
fn ballots_and_shuffles_of_a_whole_warp() {
    let Some(kernels) = kernels() else { return };
    let mut y = [0f32; 32];
    kernels.launch("ranks", Launch::of(1, 32), &mut [Argument::write(&mut y)]);
    let want: Vec<f32> = (0..32).map(|lane| (lane / 3 + 1 + 100 * 11) as f32).collect();
    assert_eq!(y.to_vec(), want);
}

/// The message about accesses that nothing orders; none where all are in order.
fn disorder(kernel: &str, launch: Launch, arguments: &mut [Argument<'_>]) -> Option<String> {
    let launch = Launch { accesses: Accesses::InOrder, ..launch };
    kernels().unwrap().try_launch(kernel, launch, arguments).err()
}

#[test]
fn accesses_that_no_barrier_orders_end_the_launch_whatever_the_values() {
    if kernels().is_none() {
        return;
    }
    for seed in 0..4 {
        let (x, mut y) = ([1f32; 256], [0f32; 256]);
        let of = |blocks, threads| Launch { seed, shared: 1024, ..Launch::of(blocks, threads) };
        for (kernel, launch, inputs, what) in [
            ("sum_without_barriers", of(1, 256), 1, "of the shared variables, which thread"),
            ("last_writer", of(1, 64), 0, "writes byte 0 of argument 0, which thread"),
            ("other_warp", of(1, 64), 0, "of the shared variables, which thread"),
            ("chain_of_blocks", of(3, 1), 0, "of argument 0, which thread 0 of block 0 writes"),
        ] {
            let mut arguments = vec![Argument::write(&mut y)];
            if inputs == 1 {
                arguments.insert(0, Argument::read(&x));
            }
            let message = disorder(kernel, launch, &mut arguments).unwrap();
            assert!(message.contains(what) && message.ends_with("no barrier between"), "{message}");
        }
        for (kernel, threads, what) in [
            ("next_after_a_vote", 32, "with no barrier between"),
            ("copy_of_another", 32, "with no barrier between"),
            ("copy_through_shared", 16, "copies to and has not waited for"),
        ] {
            let mut run = |flag: u32| {
                let arguments =
                    &mut [Argument::read(&x), Argument::write(&mut y), Argument::value(flag)];
                disorder(kernel, of(1, threads), arguments)
            };
            let message = run(0).unwrap();
            assert!(message.contains(what), "{message}");
            assert_eq!(run(1), None);
        }
        let mut run = |flag: u32| {
            let arguments = &mut [Argument::write(&mut y), Argument::value(flag)];
            disorder("write_what_is_read", of(1, 64), arguments)
        };
        let message = run(0).unwrap();
        assert!(message.contains("byte 0 of argument 0, which thread"), "{message}");
        assert_eq!(run(1), None);
        let arguments = &mut [Argument::read(&x), Argument::write(&mut y)];
        assert_eq!(disorder("sum_with_barriers", of(1, 256), arguments), None);
    }
}

/// Which no value shows here, and would on a GPU.
#[test]
fn a_vote_between_a_write_and_a_read_gives_the_right_values_in_the_emulation() {
    let Some(kernels) = kernels() else { return };
    let (x, mut y) = ([1f32; 32], [0f32; 32]);
    let arguments = &mut [Argument::read(&x), Argument::write(&mut y), Argument::value(0u32)];
    kernels.launch("next_after_a_vote", unwatched(1, 32), arguments);
    assert!(y.iter().zip(x).all(|(y, x)| y.total_cmp(&x).is_eq()), "{y:?}");
}
