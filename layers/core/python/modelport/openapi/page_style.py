"""How the pages look: one style sheet, light and dark, phone and desktop, all of it here."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--card:#f6f8fa;
--get:#0a6b3d;--post:#0b57b0;--link:#0b57b0;--warn:#9a3412}
@media (prefers-color-scheme:dark){:root{--bg:#0f1318;--ink:#e6e9ed;--soft:#9aa5b1;--line:#2b333c;
--card:#171d24;--get:#4cc38a;--post:#79b8ff;--link:#79b8ff;--warn:#fdba74}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main,header,footer{max-width:60rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}h1{margin:.2rem 0;font-size:1.9rem;overflow-wrap:anywhere}
h2{margin:2.2rem 0 .6rem;font-size:1.25rem}h3{margin:1rem 0 .3rem;font-size:1rem}
p{margin:.4rem 0}.soft{color:var(--soft)}.told{white-space:pre-wrap;overflow-wrap:anywhere}
a{color:var(--link)}a:focus-visible,button:focus-visible,textarea:focus-visible,
summary:focus-visible,select:focus-visible,pre:focus-visible{outline:3px solid var(--link);
outline-offset:2px}
code,pre,textarea{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
code{overflow-wrap:anywhere}
pre,textarea{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.7rem;
overflow:auto;max-height:26rem;margin:.3rem 0}
textarea{width:100%;min-height:9rem;color:inherit;resize:vertical}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
details.operation{border:1px solid var(--line);border-radius:8px;margin:.6rem 0}
details.operation>summary{padding:.65rem .8rem;cursor:pointer;display:flex;flex-wrap:wrap;
gap:.3rem .7rem;align-items:baseline}
details.operation>div{padding:0 .8rem .8rem;border-top:1px solid var(--line)}
.method{font-weight:700;font-size:.8rem;min-width:3rem}.GET{color:var(--get)}.POST{color:var(--post)}
details details{margin:.4rem 0}details details>summary{cursor:pointer;color:var(--link)}
button,select{font:inherit;padding:.4rem .9rem;border-radius:6px;border:1px solid var(--line);
background:var(--card);color:inherit}
button{background:var(--post);border-color:var(--post);color:var(--bg);cursor:pointer}
.row{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;margin:.4rem 0}
.note{border-left:4px solid var(--warn);padding:.1rem .8rem;margin:.8rem 0}
.models{padding:0;list-style:none}.models li{border-bottom:1px solid var(--line);padding:.55rem 0;
display:flex;flex-wrap:wrap;gap:.2rem 1rem}
footer{padding:2rem 1rem 3rem;color:var(--soft);font-size:.9rem}
[hidden]{display:none}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
"""
