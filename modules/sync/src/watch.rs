//! One value or message for many tasks: embassy-sync's, with its lock filled in.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;

/// The latest value, for up to `N` tasks that each want to know of changes (embassy-sync's).
///
/// Values are cloned in a critical section: keep them small.
pub type Watch<T, const N: usize> = embassy_sync::watch::Watch<CriticalSectionRawMutex, T, N>;

/// A queue of at most `CAP` messages, each for all of up to `SUBS` subscribers, from up to `PUBS`
/// publishers (embassy-sync's).
///
/// Messages are cloned in a critical section: keep them small. A publisher waits for the slowest
/// subscriber, or overtakes it (`publish_immediate`), which it is told.
pub type Broadcast<T, const CAP: usize, const SUBS: usize, const PUBS: usize> =
    embassy_sync::pubsub::PubSubChannel<CriticalSectionRawMutex, T, CAP, SUBS, PUBS>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::{Task, run};

    #[test]
    fn watchers_each_see_a_change_and_sleep_otherwise() {
        let watch = Watch::<u8, 8>::new();
        for round in 0..3_u8 {
            let mut receivers: Vec<_> = (0..8).map(|_| watch.receiver().unwrap()).collect();
            receivers
                .iter_mut()
                .for_each(|receiver| assert_eq!(receiver.try_get(), round.checked_sub(1)));
            let mut tasks: Vec<_> = receivers.iter_mut().map(|r| Task::new(r.changed())).collect();
            let (polls, seen) = run(&mut tasks);
            // Those of the round before left their wakers behind.
            assert!((8..=16).contains(&polls) && seen.is_empty(), "round {round}: {polls} polls");
            tasks.truncate(6);
            watch.sender().send(round);
            assert_eq!(run(&mut tasks), (6, vec![round; 6]));
            drop(tasks);
            let mut tasks: Vec<_> =
                receivers[..6].iter_mut().map(|r| Task::new(r.changed())).collect();
            assert_eq!(run(&mut tasks), (6, vec![]));
        }
    }

    #[test]
    fn subscribers_and_publishers_sleep_until_there_is_something() {
        let broadcast = Broadcast::<u8, 1, 4, 4>::new();
        let mut subscribers: Vec<_> = (0..4).map(|_| broadcast.subscriber().unwrap()).collect();
        let publishers: Vec<_> = (0..4).map(|_| broadcast.publisher().unwrap()).collect();
        let mut receiving: Vec<_> =
            subscribers.iter_mut().map(|s| Task::new(s.next_message_pure())).collect();
        assert_eq!(run(&mut receiving), (4, vec![]));
        publishers[0].try_publish(1).unwrap();
        let mut sending: Vec<_> = publishers.iter().map(|p| Task::new(p.publish(2))).collect();
        assert_eq!(run(&mut sending).0, 4);
        sending.remove(0);
        assert_eq!(run(&mut receiving), (4, vec![1; 4]));
        let (polls, sent) = run(&mut sending);
        assert_eq!((polls, sent.len()), (3, 1), "all try, one has room");
    }
}
