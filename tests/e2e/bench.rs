//! bench.html, which measures whatever machine it is opened on.

use serde_json::json;

use crate::page::Page;

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_benchmark_page_measures_and_gives_a_table() {
    let page = Page::new("bench");
    page.open("bench.html");
    let machine = page.text("#machine");
    assert!(machine.contains("processor threads"), "{machine}");
    page.step("bench.html is open and names the machine");

    // The small network on the CPU backend: a software GPU would take its time.
    for (selector, on) in [
        ("[value=demo]", true),
        ("[value=block]", false),
        ("[value=sd15]", false),
        ("[value=ours-webgpu]", false),
        ("[value=ours-cpu]", true),
    ] {
        let set = "document.querySelector(arguments[0]).checked = arguments[1]";
        page.browser.run(set, json!([selector, on]));
    }
    page.browser.click("#start");
    page.wait("the figures", "return document.querySelector('#status').textContent === 'Done.'");
    let cells = page.browser.run(
        "return [...document.querySelectorAll('#rows td')].map((cell) => cell.textContent)",
        json!([]),
    );
    println!("           {cells}");
    let cells: Vec<&str> = cells.as_array().unwrap().iter().filter_map(|c| c.as_str()).collect();
    assert_eq!(cells.len(), 8, "one row");
    assert!(cells[0].contains("demo model") && cells[1] == "CPU backend", "{cells:?}");
    assert!(cells[4].parse::<f64>().is_ok_and(|rate| rate > 0.0), "GFLOP/s: {cells:?}");
    let table = page.browser.run("return document.querySelector('#markdown').value", json!([]));
    let table = table.as_str().unwrap();
    assert!(table.starts_with("Lorakeet, ") && table.contains("| GFLOP/s |"), "{table}");
    page.screenshot("bench");
    page.assert_no_console_errors();
}
