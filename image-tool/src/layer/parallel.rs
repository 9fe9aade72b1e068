//! Work on many things at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does something with each of `items`, on as many threads as there are processors. After an error, nothing more is begun; of several
/// the one of the first item is returned.
pub(super) fn map<T: Sync, U: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<U, E> + Sync,
) -> Result<Vec<U>, E> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<U, E>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let thread = || {
        while let Some((item, result)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).zip(results.get(index))
        } {
            let done = work(item);
            if done.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            *result.lock().expect("no thread panics with the lock") = Some(done);
        }
    };
    // To count the processors is a dozen system calls.
    let threads = if items.len() > 1 { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(thread);
        }
        thread();
    });
    let results = results.into_iter().map(|result| result.into_inner().expect("no thread panics with the lock"));
    // If one failed, others were not begun; collecting ends with it.
    results.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_an_error_ends_the_work() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(map(&items, |item| Ok::<_, u32>(item * 2)).unwrap()[99], 198);
        assert!(map(&items, |item| if *item >= 7 { Err(*item) } else { Ok(()) }).unwrap_err() >= 7);
    }
}
