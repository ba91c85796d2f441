//! The attribute behind `#[wakeful::main]`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, ItemFn, Path, parse::Parser, spanned::Spanned};

/// Makes a function the application's `main`.
///
/// It may be `async` or not, takes nothing, and returns `()` or a `Result`. When it returns, the
/// machine is switched off: with success, or after printing the error with failure.
///
/// `#[wakeful::main(heap = PATH)]` chooses the heap (a unit struct that is a `GlobalAlloc`, such as
/// `wakeful::alloc::Talc`) instead of the default of the feature `allocator`.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute.into(), item.into()).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(attribute: Tokens, item: Tokens) -> syn::Result<Tokens> {
    let heap = heap(attribute)?;
    let function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if let Some(argument) = signature.inputs.first() {
        let help = "main takes no arguments: those from the loader are in `wakeful::arguments()`";
        return Err(Error::new(argument.span(), help));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "main cannot be generic"));
    }
    let name = &signature.ident;
    let exit_code = quote!(::wakeful::__private::MainResult::exit_code);
    let run = match signature.asyncness {
        Some(_) => quote!(::wakeful::__private::run(async { #exit_code(#name().await) })),
        None => quote!(#exit_code(#name())),
    };
    let heap = match heap {
        Some(heap) => quote! {
            #[global_allocator]
            static HEAP: #heap = #heap;
        },
        None => quote!(::wakeful::__private::default_heap! {}),
    };
    Ok(quote! {
        #function

        const _: () = {
            #[unsafe(no_mangle)]
            fn __wakeful_main() -> u8 {
                #run
            }

            #heap
        };
    })
}

/// The path in `heap = PATH`, if there is one.
fn heap(attribute: Tokens) -> syn::Result<Option<Path>> {
    let mut heap = None;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("heap") {
            heap = Some(meta.value()?.parse()?);
            Ok(())
        } else {
            Err(meta.error("unknown option; there is `heap = PATH`"))
        }
    });
    parser.parse2(attribute)?;
    Ok(heap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(attribute: &str, item: &str) -> syn::Result<String> {
        expand(attribute.parse()?, item.parse()?).map(|made| made.to_string())
    }

    fn refused(attribute: &str, item: &str) -> String {
        expanded(attribute, item).unwrap_err().to_string()
    }

    #[test]
    fn drives_async_and_plain_main() {
        let asynchronous = expanded("", "async fn main() {}").unwrap();
        assert!(asynchronous.contains("run (async") && asynchronous.contains("main () . await"));
        let plain = expanded("", "fn start() -> Result<(), E> {}").unwrap();
        assert!(!plain.contains("run (async") && plain.contains("start ()"));
    }

    #[test]
    fn heap_is_a_choice() {
        assert!(expanded("", "fn main() {}").unwrap().contains("default_heap"));
        let chosen = expanded("heap = my::Heap", "fn main() {}").unwrap();
        assert!(chosen.contains("static HEAP : my :: Heap = my :: Heap"));
    }

    #[test]
    fn tells_what_main_cannot_be() {
        assert!(refused("", "fn main(x: u8) {}").contains("takes no arguments"));
        assert!(refused("", "fn main<T>() {}").contains("generic"));
        assert!(refused("stack = 1", "fn main() {}").contains("unknown option"));
        assert!(refused("", "struct Main;").contains("expected"));
    }
}
