// Opens the example page in headless Chromium, uses it as a person would, and says on standard output what it saw.
"use strict";
const puppeteer = require("puppeteer-core");

const [browser_path, url, screenshot] = process.argv.slice(2);

async function main() {
  const browser = await puppeteer.launch({
    executablePath: browser_path,
    headless: true,
    // Containers give little shared memory, and root may not have a sandbox.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  const complaints = [];
  try {
    const page = await browser.newPage();
    page.on("pageerror", error => complaints.push(String(error)));
    page.on("console", message => { if (message.type() === "error") complaints.push(message.text()); });
    await page.setViewport({ width: 800, height: 600 });
    await page.goto(url);
    const text = id => page.$eval(`#${id}`, element => element.textContent);
    const until = (expression, ...values) => page.waitForFunction(expression, { timeout: 30000, polling: "mutation" }, ...values);
    await until(() => document.getElementById("state").textContent === "connected");
    await until(() => Number(document.getElementById("count").textContent) >= 5);
    const before = parseFloat(await text("now"));
    await page.$eval("#wanted", element => { element.value = ""; });
    await page.type("#wanted", "30");
    await page.click("#set button");
    await until(() => document.getElementById("confirmed").textContent === "set to 30 °C");
    await until(() => parseFloat(document.getElementById("now").textContent) > 25);
    await page.screenshot({ path: screenshot });
    const drawn = await page.$eval("#chart", canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((_, place) => place % 4 === 3).reduce((count, alpha) => count + (alpha > 0), 0);
    });
    console.log(JSON.stringify({
      title: await page.title(), before, after: parseFloat(await text("now")), confirmed: await text("confirmed"),
      state: await text("state"), drawn, complaints,
    }));
  } finally {
    await browser.close();
  }
}

main().catch(error => { console.error(error); process.exit(1); });
