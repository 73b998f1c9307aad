use crate::threads::{self, Chunks};
use crate::work;

/// The elements that a task of several small tensors has at least.
const TASK: usize = 1 << 13;

/// Calls `f` with each item, whose kernels work on `length(item)` elements: with large items one after the
/// other, since their kernels spread over all threads; with small ones on several threads at once, in one
/// fork-join for all of them.
pub fn for_each<X: Send>(items: &mut [X], length: impl Fn(&X) -> usize, f: impl Fn(&mut X) + Sync) {
    let mut tasks: Vec<Vec<&mut X>> = Vec::new();
    let mut filled = TASK;
    for item in items {
        let length = length(item);
        if work::block(length) < length {
            f(item);
            continue;
        }
        if filled >= TASK {
            filled = 0;
            tasks.push(Vec::new());
        }
        filled += length;
        if let Some(task) = tasks.last_mut() {
            task.push(item);
        }
    }
    threads::each(tasks.len(), Chunks::new(&mut tasks, 1), |_, task| {
        task.iter_mut().flatten().for_each(|item| f(item));
    });
}
