//! Batches that are made ready ahead of time.

use std::any::Any;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use candle_core::Tensor;
use taper_core::{Error, Result, Snapshot, Stateful};

use crate::Batches;

/// How many batches wait, besides the one that the thread is at.
const WAITING: usize = 2;

type Batch = (Tensor, Tensor);

/// [`Batches`] that a thread makes ready while the caller trains on those before: the same batches, to the bit.
///
/// The thread begins with the first batch that is asked for, is up to three batches ahead, and ends when this is dropped.
/// It pays off where a batch costs much beside a step, as with augmentations, and a core is free.
///
/// Its [`Stateful`] state is that of the batches that were handed out, in the format of [`Batches`]: what one saves, the
/// other restores.
///
/// # Errors
/// An error in the thread, a panic there too, comes from [`Self::next_batch`] in place of the batch that it hit; the
/// next call tries the same batch again.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::Device;
/// use taper_data::{Augmentation, Batches, BatchesConfig, Prefetch, digits};
///
/// let digits = digits()?;
/// let augmentations = vec![Augmentation::Shift(1)];
/// let config = BatchesConfig { batch_size: 60, augmentations, ..Default::default() };
/// let stream = taper_core::stream(7, "shuffle");
/// let mut batches = Batches::new(&digits, &digits.indices(), config, stream, &Device::Cpu)?;
/// let mut prefetch = Prefetch::new(batches.clone());
/// for _ in 0..3 {
///     let (images, _) = prefetch.next_batch()?;
///     assert_eq!(images.to_vec2::<f32>()?, batches.next_batch()?.0.to_vec2::<f32>()?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Prefetch {
    /// They stand where the caller stands: behind the thread's own.
    handed_out: Batches,
    ahead: Option<Ahead>,
}

impl Prefetch {
    /// Goes on from where `batches` stand.
    pub fn new(batches: Batches) -> Self {
        Self { handed_out: batches, ahead: None }
    }

    /// The next batch, as [`Batches::next_batch`].
    pub fn next_batch(&mut self) -> Result<(Tensor, Tensor)> {
        let ahead = match &mut self.ahead {
            Some(ahead) => ahead,
            ahead => {
                let mut batches = self.handed_out.clone();
                ahead.insert(Ahead::start(move || batches.next_batch())?)
            }
        };
        let batch = ahead.next();
        match batch {
            Ok(_) => self.handed_out.skip_batch(),
            // It has ended; another begins with the batch that failed.
            Err(_) => self.ahead = None,
        }
        batch
    }

    /// The batches from here to the end of the epoch, as [`Batches::epoch`].
    pub fn epoch(&mut self) -> impl Iterator<Item = Result<(Tensor, Tensor)>> {
        (0..self.handed_out.batches_to_come()).map(|_| self.next_batch())
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.handed_out.batches_per_epoch()
    }
}

impl Stateful for Prefetch {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        self.handed_out.save(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.handed_out.restore(snapshot)?;
        // What it has made ready is of the old state.
        self.ahead = None;
        Ok(())
    }
}

/// A thread and what it has made ready.
#[derive(Debug)]
struct Ahead {
    /// None once the thread has to end.
    ready: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Makes batches until one fails.
    fn start(mut make: impl FnMut() -> Result<Batch> + Send + 'static) -> Result<Self> {
        let (sender, ready) = sync_channel(WAITING);
        let work = move || {
            loop {
                let batch = make();
                let failed = batch.is_err();
                // Nobody waits for it any more where the receiver is gone.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new().name("prefetch".to_owned()).spawn(work);
        let thread = thread.map_err(|error| failure(&format!("no thread: {error}")))?;
        Ok(Self { ready: Some(ready), thread: Some(thread) })
    }

    fn next(&mut self) -> Result<Batch> {
        if let Some(Ok(batch)) = self.ready.as_ref().map(Receiver::recv) {
            return batch;
        }
        // It went without an error.
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => Err(failure(&format!("the thread panicked: {}", words(&*panic)))),
            _ => Err(failure("the thread has ended")),
        }
    }
}

impl Drop for Ahead {
    /// Waits for the batch that the thread is at, at most.
    fn drop(&mut self) {
        // Without a receiver its next `send` fails, also one that waits for room.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // A panic of batches that nobody asked for concerns nobody.
            let _ = thread.join();
        }
    }
}

fn failure(reason: &str) -> Error {
    candle_core::Error::Msg(format!("Prefetch::next_batch: {reason}")).into()
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use candle_core::{DType, Device};

    use super::*;

    fn batch(value: u32) -> Result<Batch> {
        let tensor = Tensor::new(&[value], &Device::Cpu)?;
        Ok((tensor.to_dtype(DType::F32)?, tensor))
    }

    fn label(batch: Result<Batch>) -> Result<u32> {
        Ok(batch?.1.to_vec1::<u32>()?[0])
    }

    #[test]
    fn an_error_comes_in_place_of_its_batch() -> Result<()> {
        let mut made = 0;
        let mut ahead = Ahead::start(move || {
            made += 1;
            if made == 3 { Err(Error::state("three", "not today")) } else { batch(made) }
        })?;
        assert_eq!((label(ahead.next())?, label(ahead.next())?), (1, 2));
        assert_eq!(ahead.next().unwrap_err().to_string(), "restore: three: not today");
        let expected = "Prefetch::next_batch: the thread has ended";
        assert_eq!(ahead.next().unwrap_err().to_string(), expected);
        Ok(())
    }

    #[test]
    fn a_panic_becomes_an_error() -> Result<()> {
        let panics: [fn(); 3] =
            [|| panic!("no batch {}", 2), || panic!("no batch 2"), || std::panic::panic_any(2)];
        for (panic, expected) in
            panics.into_iter().zip(["no batch 2", "no batch 2", "without a word"])
        {
            let mut made = 0;
            let mut ahead = Ahead::start(move || {
                made += 1;
                if made == 2 {
                    panic();
                }
                batch(made)
            })?;
            assert_eq!(label(ahead.next())?, 1);
            let expected = format!("Prefetch::next_batch: the thread panicked: {expected}");
            assert_eq!(ahead.next().unwrap_err().to_string(), expected);
        }
        Ok(())
    }

    #[test]
    fn it_is_three_batches_ahead_and_ends_when_dropped() -> Result<()> {
        let made = Arc::new(AtomicUsize::new(0));
        let (count, (begun, begins)) = (made.clone(), mpsc::channel());
        let mut ahead = Ahead::start(move || {
            let at = count.fetch_add(1, Ordering::SeqCst);
            // Nobody listens once the test is over.
            let _ = begun.send(at);
            batch(at as u32)
        })?;
        // Two wait in the queue, and the thread holds the third.
        assert_eq!(begins.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(made.load(Ordering::SeqCst), 3);
        assert_eq!(label(ahead.next())?, 0);
        assert_eq!(begins.recv().unwrap(), 3);
        drop(ahead);
        // The thread is over: what it owned is gone, and it made no more than fits.
        assert!(begins.recv().is_err());
        assert_eq!((made.load(Ordering::SeqCst), Arc::strong_count(&made)), (4, 1));
        Ok(())
    }
}
