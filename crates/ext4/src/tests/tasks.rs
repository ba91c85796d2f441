//! Futures that are dropped, and many at once.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use wakeful_block::fake;

use super::image::{self, disk, slow_disk};
use crate::{Options, Volume};

/// Nothing of it stays in the cache, so that everything is a request.
const FORGETFUL: Options = Options { cache: 0, line: 512 };

/// Drops what a closure makes after each number of polls, until one is ready; the volume goes on each time.
fn drop_everywhere<T>(mut make: impl AsyncFnMut() -> T, mut check: impl FnMut()) -> u32 {
    for polls in 0.. {
        if fake::run_for(make(), polls).is_some() {
            return polls;
        }
        check();
    }
    unreachable!()
}

#[test]
fn dropped_anywhere() {
    let image = image::kept();
    let disk = slow_disk(512, &image);
    let volume = fake::run(Volume::mount_with(&disk, FORGETFUL)).unwrap();
    let check = || {
        let pieces = fake::run(volume.read("sub/pieces")).unwrap();
        assert!(pieces.len() == 40 * 2048 + 7 && pieces[2048] == b'b');
    };
    let mount = drop_everywhere(async || Volume::mount(&disk).await.unwrap(), || {});
    let read = drop_everywhere(async || volume.read("sub/link").await.unwrap(), check);
    let list = drop_everywhere(async || volume.read_dir("sub").await.unwrap(), check);
    let link = drop_everywhere(async || volume.read_link("sub/link").await.unwrap(), check);
    eprintln!("ready after {mount}, {read}, {list}, {link} polls");
    assert!(mount > 1 && read > 5 && list > 3 && link > 3);
}

/// Each read and each entry is dropped after every number of polls before it is left to happen: nothing is lost, and
/// nothing comes twice.
#[test]
fn dropped_and_tried_again() {
    let image = image::kept();
    let disk = slow_disk(512, &image);
    let volume = fake::run(Volume::mount_with(&disk, FORGETFUL)).unwrap();
    let mut names = Vec::new();
    let mut entries = fake::run(volume.read_dir("sub")).unwrap();
    'all: loop {
        for polls in 0.. {
            match fake::run_for(entries.next(), polls) {
                None => {}
                Some(Ok(Some(entry))) => {
                    names.push(entry.file_name().to_vec());
                    break;
                }
                Some(result) => {
                    assert!(result.unwrap().is_none());
                    break 'all;
                }
            }
        }
    }
    names.sort();
    assert_eq!(names, [b"link".to_vec(), b"pieces".to_vec()]);

    let mut file = fake::run(volume.open("sub/pieces")).unwrap();
    let mut contents = Vec::new();
    loop {
        let mut buffer = [0; 5000];
        let len = (0..).find_map(|polls| fake::run_for(file.read(&mut buffer), polls)).unwrap();
        contents.extend_from_slice(&buffer[..len.unwrap()]);
        if len == Ok(0) {
            break;
        }
    }
    assert!(contents == fake::run(volume.read("sub/pieces")).unwrap());
}

/// Tasks read at once, and their requests are under way at once.
#[test]
fn many_at_once() {
    let image = image::kept();
    let disk = slow_disk(512, &image).with_polls(10);
    let one = fake::run(async {
        let volume = Volume::mount_with(&disk, FORGETFUL).await.unwrap();
        let mut polls = 0;
        let mut read = pin!(volume.read("sub/pieces"));
        poll_fn(|context| {
            polls += 1;
            read.as_mut().poll(context)
        })
        .await
        .unwrap();
        polls
    });
    let all = fake::run(async {
        let volume = Volume::mount_with(&disk, FORGETFUL).await.unwrap();
        let mut tasks: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
        for _ in 0..10 {
            let volume = volume.clone();
            tasks.push(Box::pin(async move { volume.read("sub/pieces").await.unwrap().len() }));
        }
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            tasks.retain_mut(|task| match task.as_mut().poll(context) {
                Poll::Ready(len) => {
                    assert_eq!(len, 40 * 2048 + 7);
                    false
                }
                Poll::Pending => true,
            });
            if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        polls
    });
    eprintln!("one task: {one} polls; ten: {all}");
    assert!(all < one * 2);
}

/// They fit into tasks: the README has these numbers.
#[test]
fn futures_are_small() {
    fake::run(async {
        let volume = Volume::mount(Arc::new(disk(512, &image::kept()))).await.unwrap();
        let mut file = volume.open("hello").await.unwrap();
        let mut entries = volume.read_dir("/").await.unwrap();
        let mount = size_of_val(&Volume::mount(Arc::new(disk(512, &image::kept()))));
        let open = size_of_val(&volume.open("hello"));
        let whole = size_of_val(&volume.read("hello"));
        let read = size_of_val(&file.read(&mut []));
        let next = size_of_val(&entries.next());
        eprintln!("mount {mount}, open {open}, whole {whole}, read {read}, next {next} bytes");
        assert!(mount.max(open).max(whole).max(read).max(next) < 4096);
    });
}

/// On any hart.
#[test]
fn futures_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    fake::run(async {
        let volume = send(Volume::mount(Arc::new(disk(512, &image::kept())))).await.unwrap();
        send(volume.metadata("hello")).await.unwrap();
        send(volume.read_link("sub/link")).await.unwrap();
        send(volume.read("hello")).await.unwrap();
        let mut file = send(send(volume.open("hello")).await.unwrap());
        send(file.read(&mut [0; 4])).await.unwrap();
        let mut entries = send(send(volume.read_dir("/")).await.unwrap());
        let entry = send(send(entries.next()).await.unwrap().unwrap());
        send(entry.metadata()).await.unwrap();
    });
}
