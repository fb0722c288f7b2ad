//! Work on a stream in bounded memory: one thread reads, several work, the caller writes. Items are
//! dealt to the workers in turn and taken back in turn, so what is written does not depend on how
//! many there are or how fast. Knows threads; does not know what the items are.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::train::progress::Failure;

/// Items that wait before a worker, and results that wait after it.
const WAITING: usize = 1;

/// Hands on what `read` gives, until it ends or is told that no more is wanted; `worker` is called
/// once in each thread and makes what works there. Ends at the first failure of `write`.
pub fn in_order<Item: Send, Made: Send, Work: FnMut(Item) -> Made>(
    threads: usize,
    read: impl FnOnce(&mut dyn FnMut(Item) -> bool) + Send,
    worker: impl Fn() -> Work + Sync,
    mut write: impl FnMut(Made) -> Result<(), Failure>,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..threads.max(1) {
            let (input, items) = sync_channel(WAITING);
            let (made, output) = sync_channel(WAITING);
            let worker = &worker;
            scope.spawn(move || {
                let mut work = worker();
                // Nobody takes the results any more once writing failed.
                items.into_iter().map(&mut work).all(|result| made.send(result).is_ok())
            });
            inputs.push(input);
            outputs.push(output);
        }
        scope.spawn(move || {
            let mut turns = (0..inputs.len()).cycle();
            read(&mut |item| turns.next().is_some_and(|at| inputs[at].send(item).is_ok()));
        });
        // The first worker without a result in its turn is the first that was dealt no item.
        for at in (0..outputs.len()).cycle() {
            match outputs[at].recv() {
                Ok(result) => write(result)?,
                Err(_) => break,
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Squares of the numbers below `count`, as they were written.
    fn squares(threads: usize, count: u64, stop: u64) -> (Vec<u64>, Result<(), Failure>) {
        let mut written = Vec::new();
        let done = in_order(
            threads,
            |give| _ = (0..count).all(give),
            || {
                |number: u64| {
                    // The first of each ten is slow.
                    let pause = if number.is_multiple_of(10) { 300 } else { 0 };
                    thread::sleep(std::time::Duration::from_micros(pause));
                    number * number
                }
            },
            |square| {
                if square == stop * stop {
                    return Err(Failure::Interrupted);
                }
                written.push(square);
                Ok(())
            },
        );
        (written, done)
    }

    #[test]
    fn what_is_written_is_in_order_whatever_the_threads() {
        for threads in 0..5 {
            for count in [0, 1, 2, 3, 7, 100] {
                let (written, done) = squares(threads, count, u64::from(u32::MAX));
                assert!(done.is_ok());
                assert!(written.into_iter().eq((0..count).map(|number| number * number)));
            }
        }
    }

    #[test]
    fn a_failure_to_write_ends_it() {
        for threads in 1..4 {
            let (written, done) = squares(threads, u64::from(u32::MAX), 25);
            assert!(matches!(done, Err(Failure::Interrupted)));
            assert_eq!(written.len(), 25);
        }
    }
}
